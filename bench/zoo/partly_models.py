"""Models that are quantised in part, or in half precision, as other tools leave them.

`make_all(folder)` writes, from a trained convolutional model (models/) and a transformer exported
from PyTorch (torch_models.py), with every second layer left as it was:

    cnn_qdq, cnn_qdq_s8     quantize_static, QDQ (u8s8, s8s8)       cnn_qoperator   QOperator
    bert_dynamic            quantize_dynamic                bert_nbits      MatMulNBits, 4 bits
    *_half                  all in half precision, inputs float     *_half_io       inputs too
    cnn_ours, bert_ours     onnxpress's own w8a8, the others left float
"""
import collections
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

import cache

sys.path.insert(0, cache.ORACLE)
from harness import onnxpress  # noqa: E402

Partly = collections.namedtuple("Partly", "path calibration evaluation")


class Reader(quantization.CalibrationDataReader):
    def __init__(self, path):
        with np.load(path) as file:
            self.arrays = {k: file[k] for k in file.files if k != "labels"}
        self.rows = iter(range(min(16, len(next(iter(self.arrays.values()))))))

    def get_next(self):
        row = next(self.rows, None)
        return None if row is None else {k: v[row:row + 1] for k, v in self.arrays.items()}


def sources():
    """{kind: (model, calibration, evaluation)}."""
    local = os.path.join(cache.PROJECT, "models", "fashion_mnist")
    torch = cache.place("torch", "bert")
    return {"cnn": (local + ".onnx", local + "_calibration.npz", local + "_test.npz"),
            "bert": (torch + ".onnx", torch + "_calibration.npz", torch + "_evaluation.npz")}


def every_second(model):
    """Names of every second node with a weight: those that stay as they are."""
    constants = {t.name for t in model.graph.initializer}
    weighted = [n.name for n in model.graph.node
                if n.op_type in ("Conv", "Gemm", "MatMul") and n.input[1] in constants]
    return weighted[::2]


def static(path, source, calibration, form, activation):
    quantization.quantize_static(
        source, path, Reader(calibration), quant_format=form, per_channel=True,
        activation_type=activation, weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=every_second(onnx.load(source)))


def dynamic(path, source):
    quantization.quantize_dynamic(source, path, op_types_to_quantize=["MatMul"], per_channel=True,
                                  nodes_to_exclude=every_second(onnx.load(source)))


def blocks_of(weight, block):
    """4-bit codes [N, K/block, block/2], scales [N, K/block], of a weight [K, N], symmetric."""
    columns = weight.T.reshape(weight.shape[1], -1, block)
    scales = np.abs(columns).max(-1) / 7
    scales[scales == 0] = 1
    codes = np.clip(np.rint(columns / scales[..., None]) + 8, 0, 15).astype(np.uint8)
    return codes[..., ::2] | codes[..., 1::2] << 4, scales.astype(np.float32)


def nbits(path, source, block=32):
    model = onnx.load(source)
    left, tensors = set(every_second(model)), {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in tensors or node.name in left:
            continue
        weight = numpy_helper.to_array(tensors[node.input[1]])
        codes, scales = blocks_of(weight, block)
        names = [node.input[1] + "_4bit", node.input[1] + "_scales"]
        model.graph.initializer.extend(
            numpy_helper.from_array(a, n) for a, n in zip((codes, scales), names))
        model.graph.initializer.remove(tensors.pop(node.input[1]))
        node.CopyFrom(helper.make_node(
            "MatMulNBits", [node.input[0], *names], node.output, node.name,
            domain="com.microsoft", K=weight.shape[0], N=weight.shape[1], bits=4,
            block_size=block, accuracy_level=4))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)


def ours(path, source, calibration):
    excluded = [word for name in every_second(onnx.load(source))
                for word in ("--exclude-nodes", name)]
    onnxpress("compress", source, "-o", path, "--precision", "w8a8", "--data", calibration,
              "--force", "-q", *excluded)


def half(path, source, keep_io):
    """The converter appends Casts at the end of the list; ONNX wants the nodes in order."""
    model = OnnxModel(convert_float_to_float16(onnx.load(source), keep_io_types=keep_io))
    model.topological_sort()
    onnx.save(model.model, path)


def half_data(path, source):
    """The same samples with the floats in half precision."""
    with np.load(source) as file:
        np.savez(path, **{k: file[k].astype(np.float16) if file[k].dtype == np.float32
                          else file[k] for k in file.files})
    return path


def mixed_weights(path):
    """Convolutions and a product, weights stored as half, bfloat16 and int8 with a Cast."""
    rng = np.random.default_rng(11)
    node, make = helper.make_node, numpy_helper.from_array
    weights = [(rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32)
               for s in ((32, 1, 3, 3), (32, 32, 3, 3), (32, 32, 3, 3), (10, 32, 28, 28))]
    bits = (weights[1].view(np.uint32) >> 16).astype(np.uint16)
    codes = np.clip(np.rint(weights[2] * 200), -127, 127).astype(np.int8)
    tensors = [make(weights[0].astype(np.float16), "w0"),
               helper.make_tensor("w1", TensorProto.BFLOAT16, weights[1].shape,
                                  bits.tobytes(), raw=True),
               make(codes, "w2"), make(np.float32(1 / 200), "s2"),
               make(weights[3], "w3")]
    nodes = [node("Cast", ["w0"], ["f0"], to=1), node("Cast", ["w1"], ["f1"], to=1),
             node("Cast", ["w2"], ["c2"], to=1), node("Mul", ["c2", "s2"], ["f2"])]
    last = "x"
    for k in range(3):
        nodes += [node("Conv", [last, f"f{k}"], [f"y{k}"], f"conv{k}", pads=[1] * 4),
                  node("Relu", [f"y{k}"], [f"r{k}"])]
        last = f"r{k}"
    nodes += [node("Conv", [last, "w3"], ["y3"], "conv3"), node("Flatten", ["y3"], ["y"])]
    graph = helper.make_graph(
        nodes, "mixed", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
              path)


def make_half(folder, made, kind, source, calibration, evaluation):
    at = lambda name: os.path.join(folder, name)   # noqa: E731
    half(at(kind + "_half.onnx"), source, True)
    made[kind + "_half"] = Partly(at(kind + "_half.onnx"), calibration, evaluation)
    half(at(kind + "_half_io.onnx"), source, False)
    made[kind + "_half_io"] = Partly(at(kind + "_half_io.onnx"),
                                     half_data(at(kind + "_c.npz"), calibration),
                                     half_data(at(kind + "_e.npz"), evaluation))


def make_all(folder):
    """{name: Partly}."""
    made, types = {}, quantization.QuantType
    for kind, (source, calibration, evaluation) in sources().items():
        def add(name, function, *more, source=source, calibration=calibration,
                evaluation=evaluation):
            path = os.path.join(folder, name + ".onnx")
            function(path, source, *more)
            made[name] = Partly(path, calibration, evaluation)
        if kind == "cnn":
            qdq, operators = quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator
            add("cnn_ours", ours, calibration)
            add("cnn_qdq", static, calibration, qdq, types.QUInt8)
            add("cnn_qdq_s8", static, calibration, qdq, types.QInt8)
            add("cnn_qoperator", static, calibration, operators, types.QUInt8)
            mixed = os.path.join(folder, "cnn_mixed.onnx")
            mixed_weights(mixed)
            with np.load(calibration) as file:
                name = [k for k in file.files if k != "labels"][0]
                for part, path in (("c", calibration), ("e", evaluation)):
                    with np.load(path) as f:
                        np.savez(os.path.join(folder, f"mixed_{part}.npz"), x=f[name][:64])
            made["cnn_mixed"] = Partly(mixed, os.path.join(folder, "mixed_c.npz"),
                                       os.path.join(folder, "mixed_e.npz"))
        else:
            add("bert_ours", ours, calibration)
            add("bert_dynamic", dynamic)
            add("bert_nbits", nbits)
            add("bert_qdq", static, calibration, quantization.QuantFormat.QDQ, types.QUInt8)
        make_half(folder, made, kind, source, calibration, evaluation)
    return made
