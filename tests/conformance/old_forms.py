"""Nodes as older opsets write them, which no case of today has: axes, shapes and limits as
attributes, scales without a region, and their like. (name, opset, node, input arrays, element
types of the outputs)"""

import numpy as np
from onnx import TensorProto, helper

REDUCTIONS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
BOOL, FLOAT, INT64 = TensorProto.BOOL, TensorProto.FLOAT, TensorProto.INT64
RANDOM = np.random.default_rng(20)


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def positive(*shape):
    return np.abs(floats(*shape)) + np.float32(0.1)


def form(name, opset, operator, arrays, types=(FLOAT,), **attributes):
    inputs = [f"x{i}" if array is not None else "" for i, array in enumerate(arrays)]
    node = helper.make_node(operator, inputs, [f"y{i}" for i in range(len(types))], **attributes)
    return name, opset, node, [np.asarray(a) for a in arrays if a is not None], types


def reductions():
    for kind in REDUCTIONS:
        for opset in (7, 11, 13):
            if kind == "Sum" and opset == 13:
                continue  # its axes became an input here
            operator, x = "Reduce" + kind, positive(2, 3, 4)
            yield form("axes", opset, operator, [x], axes=[1])
            yield form("flat", opset, operator, [x], axes=[0, 2], keepdims=0)
            yield form("all", opset, operator, [x], keepdims=0)
    for kind in REDUCTIONS:
        for opset in (11, 13):
            if kind != "Sum" or opset == 11:
                yield form("from_the_back", opset, "Reduce" + kind, [positive(2, 3, 4)], axes=[-1])


def shapes():
    for opset in (7, 11):
        yield form("axes", opset, "Squeeze", [floats(1, 3, 1, 2)], axes=[0, 2])
        yield form("every", opset, "Squeeze", [floats(1, 3, 1, 2)])
        yield form("axes", opset, "Unsqueeze", [floats(3, 2)], axes=[0, 3])
        yield form("parts", opset, "Split", [floats(6, 2)], [FLOAT] * 2, split=[2, 4])
        yield form("equal", opset, "Split", [floats(4, 6)], [FLOAT] * 3, axis=1)
    yield form("from_the_back", 11, "Unsqueeze", [floats(3, 2)], axes=[-1])
    yield form("axes", 7, "Slice", [floats(4, 5)], axes=[1], starts=[-3], ends=[100])
    yield form("every", 7, "Slice", [floats(4, 5)], starts=[1, 0], ends=[-1, 3])
    for mode in ("constant", "reflect", "edge"):
        yield form(mode, 7, "Pad", [floats(3, 4)], mode=mode, pads=[1, 0, 2, 3], value=0.5)
    yield form("cut", 7, "Pad", [floats(3, 4)], pads=[-1, 0, 2, -1])
    yield form("flat", 7, "Flatten", [floats(2, 3, 4)], axis=2)
    yield form("blocks", 7, "DepthToSpace", [floats(1, 8, 2, 3)], blocksize=2)
    yield form("repeat", 7, "Tile", [floats(2, 3), np.array([2, 1])])


def selections():
    yield form("largest", 7, "TopK", [floats(3, 5)], [FLOAT, INT64], k=2)
    yield form("axis", 7, "TopK", [floats(3, 5)], [FLOAT, INT64], k=1, axis=0)
    indices = np.array([[1, 0, 2], [0, 2, 1]])
    for opset in (9, 11):
        if opset == 9:
            yield form("rows", opset, "Scatter", [floats(3, 3), indices, floats(2, 3)])
        yield form("rows", opset, "Gather", [floats(3, 3), indices], axis=1)
    yield form("limits", 7, "Clip", [floats(3, 5)], min=-0.5, max=0.75)
    yield form("low", 7, "Clip", [floats(3, 5)], min=0.0)
    for kind in ("Softmax", "LogSoftmax", "Hardmax"):
        for opset in (7, 11):
            yield form("matrix", opset, kind, [floats(2, 3, 4)])
            yield form("axis", opset, kind, [floats(2, 3, 4)], axis=2)
    yield form("ratio", 7, "Dropout", [floats(2, 3)], ratio=0.25)
    yield form("ratio", 10, "Dropout", [floats(2, 3)], ratio=0.25)


def pictures():
    scales = np.array([1, 1, 2, 1.5], np.float32)
    smaller = np.array([1, 1, 0.5, 0.5], np.float32)
    x = floats(1, 2, 4, 6)
    for mode in ("nearest", "linear"):
        yield form(mode, 7, "Upsample", [x], mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
        yield form(mode, 9, "Upsample", [x, scales], mode=mode)
        yield form(mode, 10, "Resize", [x, scales], mode=mode)
        yield form("smaller_" + mode, 10, "Resize", [x, smaller], mode=mode)
    region = np.array([], np.float32)
    for mode in ("nearest", "linear", "cubic"):
        for place in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            yield form(f"{mode}_{place}", 11, "Resize", [x, region, scales], mode=mode,
                       coordinate_transformation_mode=place)
    regions = np.array([[0, 0, 3, 3], [1, 1, 5, 3]], np.float32)
    for mode in ("avg", "max"):
        yield form(mode, 10, "RoiAlign", [x, regions, np.array([0, 0])], mode=mode, output_height=2,
                   output_width=2, sampling_ratio=2, spatial_scale=1.0)


def normalizations():
    channels = [positive(3) for _ in range(4)]
    for opset in (7, 9, 14):
        yield form("inference", opset, "BatchNormalization", [floats(2, 3, 4), *channels],
                   epsilon=0.01)
    for opset in (18, 21):
        size = 2 if opset == 18 else 4
        yield form("groups", opset, "GroupNormalization",
                   [floats(2, 4, 3), positive(size), floats(size)], num_groups=2)
    for opset in (7, 22):
        for p in (1, 2, 3):
            yield form(f"p{p}", opset, "GlobalLpPool", [floats(2, 3, 4, 5)], p=p)
    for opset in (7, 11):
        yield form("linear", opset, "Gemm", [floats(3, 4), floats(4, 2), floats(2)], alpha=0.5)


def loop_body():
    """(step, going, total) -> (going, total + step, total)"""
    info = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Cast", ["step"], ["f"], to=FLOAT),
         helper.make_node("Add", ["total", "f"], ["next"]),
         helper.make_node("Identity", ["going"], ["still"]),
         helper.make_node("Identity", ["total"], ["seen"])], "body",
        [info("step", INT64, []), info("going", BOOL, []),
         info("total", FLOAT, [])],
        [info("still", BOOL, []), info("next", FLOAT, []),
         info("seen", FLOAT, [])])


def loops():
    for opset in (7, 11, 13, 16, 19, 21, 23, 24, 25):
        yield form("counts", opset, "Loop", [np.array(4), np.array(True), np.float32(1)],
                   [FLOAT] * 2, body=loop_body())


def every():
    for group in (reductions, shapes, selections, pictures, normalizations, loops):
        yield from group()
