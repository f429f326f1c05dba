"""Small graphs in the spelling of TensorFlow's and PaddlePaddle's exporters, beside the modules of
torch_modules.py: written by hand, node for node as those tools write them.

    spelled_models.py       into <cache>/torch/modules/tf_NAME.onnx, paddle_NAME.onnx, .npz
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import cache

RNG = np.random.default_rng(2)


def normal(*shape):
    return (RNG.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)


class Graph:
    """Nodes in order; constants as initializers or as Constant nodes."""

    def __init__(self, name, opset, **inputs):
        self.name, self.opset, self.inputs = name, opset, inputs
        self.nodes, self.tensors, self.count = [], [], 0

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"{op}_{self.count}:{k}" for k in range(outputs)]
        self.count += 1
        self.nodes.append(helper.make_node(op, list(inputs), names, names[0][:-2], **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, array, label="w"):
        name = f"{label}_{len(self.tensors)}/ReadVariableOp:0"
        self.tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def constant(self, array):
        return self.node("Constant", value=numpy_helper.from_array(np.asarray(array)))

    def save(self, *outputs):
        infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                 for n, a in self.inputs.items()]
        graph = helper.make_graph(
            self.nodes, self.name, infos,
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)],
                                  ir_version=7)
        model = onnx.shape_inference.infer_shapes(model)
        stem = cache.place("torch", "modules", self.name)
        onnx.save(model, stem + ".onnx")
        np.savez(stem + ".npz", **self.inputs)


def image(*shape):
    return RNG.standard_normal(shape).astype(np.float32).cumsum(1) * np.float32(0.5)


def norm(g, x, channels, layout="NCHW"):
    """BatchNormalization as a product and a sum, which is what a frozen graph has."""
    shape = (1, channels, 1, 1) if layout == "NCHW" else (channels,)
    scaled = g.node("Mul", x, g.weight(RNG.uniform(0.5, 2, shape).astype(np.float32)))
    return g.node("Add", scaled, g.weight(normal(*shape)))


def tf_convolutions():
    """Pixels scaled, NHWC turned, Pad in front of an unpadded Conv, kernels turned from HWIO."""
    g = Graph("tf_convolutions_13", 13, image=np.abs(image(1, 17, 17, 3)) * 20)
    x = g.node("Sub", g.node("Mul", "image", g.weight(np.float32(1 / 127.5))),
               g.weight(np.float32(1)))
    x = g.node("Transpose", x, perm=[0, 3, 1, 2])
    for channels, stride in ((16, 2), (32, 1)):
        x = g.node("Pad", x, g.weight(np.array([0, 0, 0, 0, 0, 0, 1, 1])))
        kernel = g.node("Transpose", g.weight(normal(3, 3, 3 if stride == 2 else 16, channels)),
                        perm=[3, 2, 0, 1])
        x = g.node("Conv", x, kernel, strides=[stride, stride])
        x = g.node("Clip", norm(g, x, channels), g.weight(np.float32(0)), g.weight(np.float32(6)))
    x = g.node("Transpose", x, perm=[0, 2, 3, 1])
    x = g.node("ReduceMean", x, axes=[1, 2], keepdims=0)
    x = g.node("MatMul", x, g.weight(normal(32, 40)))
    g.save(g.node("Softmax", g.node("Add", x, g.weight(normal(40)))))


def tf_separable():
    """Depthwise kernels reshaped from [H,W,C,1]; every variable read through Identity."""
    g = Graph("tf_separable_12", 12, image=image(1, 12, 12, 8))
    x = g.node("Transpose", "image", perm=[0, 3, 1, 2])
    depth = g.node("Reshape", g.node("Identity", g.weight(normal(8, 1, 3, 3))),
                   g.weight(np.array([8, 1, 3, 3])))
    x = g.node("Conv", x, depth, group=8, auto_pad="SAME_UPPER")
    x = norm(g, x, 8)
    x = g.node("Mul", x, g.node("Sigmoid", x))
    x = g.node("Conv", x, g.node("Identity", g.weight(normal(24, 8, 1, 1))))
    scale, bias, mean, variance = (g.node("Identity", g.weight(a)) for a in (
        np.ones(24, np.float32), normal(24), normal(24), RNG.uniform(1, 2, 24).astype(np.float32)))
    x = g.node("BatchNormalization", x, scale, bias, mean, variance, epsilon=1e-3)
    g.save(g.node("Transpose", g.node("LeakyRelu", x, alpha=0.2), perm=[0, 2, 3, 1]))


def tf_norm_behind_transpose():
    """The layout turned back before what follows the Conv: numbers per channel on the last axis."""
    g = Graph("tf_norm_behind_transpose_13", 13, image=image(1, 10, 10, 4))
    x = g.node("Transpose", "image", perm=[0, 3, 1, 2])
    x = g.node("Conv", x, g.weight(normal(16, 4, 3, 3)))
    x = g.node("Transpose", x, perm=[0, 2, 3, 1])
    x = g.node("Relu", norm(g, x, 16, "NHWC"))
    x = g.node("Reshape", x, g.weight(np.array([-1, 16])))
    g.save(g.node("Add", g.node("MatMul", x, g.weight(normal(16, 64))), g.weight(normal(64))))


def tf_dense_sequence():
    """Dense over the last axis of a sequence: Reshape, MatMul, Reshape, a bias; LayerNormalization
    in elementary nodes with rsqrt; GELU with Pow and Tanh."""
    g = Graph("tf_dense_sequence_11", 11, x=image(2, 6, 32))
    flat = g.node("Reshape", "x", g.weight(np.array([-1, 32])))
    y = g.node("MatMul", flat, g.weight(normal(32, 64)))
    y = g.node("Add", g.node("Reshape", y, g.weight(np.array([2, 6, 64]))), g.weight(normal(64)))
    cube = g.node("Mul", g.node("Pow", y, g.weight(np.float32(3))), g.weight(np.float32(0.044715)))
    inner = g.node("Mul", g.node("Add", y, cube), g.weight(np.float32(0.7978846)))
    gate = g.node("Add", g.node("Tanh", inner), g.weight(np.float32(1)))
    y = g.node("Mul", y, g.node("Mul", gate, g.weight(np.float32(0.5))))
    mean = g.node("ReduceMean", y, axes=[2], keepdims=1)
    centred = g.node("Sub", y, mean)
    variance = g.node("ReduceMean", g.node("Mul", centred, centred), axes=[2], keepdims=1)
    root = g.node("Reciprocal", g.node("Sqrt", g.node("Add", variance,
                                                      g.weight(np.float32(1e-6)))))
    scale = g.node("Mul", root, g.weight(RNG.uniform(0.5, 2, 64).astype(np.float32)))
    shift = g.node("Sub", g.weight(normal(64)), g.node("Mul", mean, scale))
    g.save(g.node("Add", g.node("Mul", y, scale), shift))


def tf_conv1d():
    """Conv1D as a Conv over a height of one; a table of positions cut by Slice."""
    g = Graph("tf_conv1d_11", 11, x=image(1, 20, 16))
    table = g.node("Slice", g.weight(normal(1, 128, 16)), g.weight(np.array([0, 0, 0])),
                   g.weight(np.array([1, 20, 16])))
    x = g.node("Unsqueeze", g.node("Transpose", g.node("Add", "x", table), perm=[0, 2, 1]),
               axes=[2])
    x = g.node("Conv", x, g.weight(normal(32, 16, 1, 5)), g.weight(normal(32)),
               auto_pad="SAME_LOWER")
    x = g.node("Elu", g.node("Transpose", g.node("Squeeze", x, axes=[2]), perm=[0, 2, 1]))
    g.save(x)


def paddle_block():
    """Conv, BatchNormalization, hard swish in four nodes; squeeze and excitation; a residual."""
    g = Graph("paddle_block_11", 11, x=image(1, 8, 12, 12))

    def conv(x, inputs, outputs, size, **more):
        x = g.node("Conv", x, g.constant(normal(outputs, inputs, size, size)),
                   pads=[size // 2] * 4, dilations=[1, 1], strides=[1, 1], **more)
        vectors = (RNG.uniform(0.5, 2, outputs).astype(np.float32), normal(outputs),
                   normal(outputs), RNG.uniform(0.5, 2, outputs).astype(np.float32))
        return g.node("BatchNormalization", x, *map(g.constant, vectors), epsilon=1e-5,
                      momentum=0.9)

    y = conv("x", 8, 24, 1)
    clipped = g.node("Clip", g.node("Add", y, g.constant(np.float32(3))),
                     g.constant(np.float32(0)), g.constant(np.float32(6)))
    y = g.node("Div", g.node("Mul", y, clipped), g.constant(np.float32(6)))
    pooled = g.node("GlobalAveragePool", y)
    pooled = g.node("Conv", pooled, g.constant(normal(6, 24, 1, 1)), kernel_shape=[1, 1])
    pooled = g.node("Add", pooled, g.node("Reshape", g.constant(normal(6)),
                                          g.constant(np.array([1, 6, 1, 1]))))
    pooled = g.node("Conv", g.node("Relu", pooled), g.constant(normal(24, 6, 1, 1)))
    gate = g.node("HardSigmoid", pooled, alpha=0.2, beta=0.5)
    y = conv(g.node("Mul", y, gate), 24, 8, 3)
    g.save(g.node("Add", "x", y))


def paddle_head():
    """Shapes computed by Shape, Slice, Concat; fc as MatMul and Add; scale as Mul and Add."""
    g = Graph("paddle_head_12", 12, x=image(1, 8, 6, 10))
    x = g.node("Resize", "x", g.constant(np.zeros(0, np.float32)),
               g.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
               coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    x = g.node("ConvTranspose", x, g.constant(normal(8, 12, 2, 2)), strides=[2, 2])
    x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    batch = g.node("Slice", g.node("Shape", x), g.constant(np.array([0])),
                   g.constant(np.array([1])))
    shape = g.node("Concat", batch, g.constant(np.array([12])), g.constant(np.array([-1])), axis=0)
    x = g.node("Transpose", g.node("Reshape", x, shape), perm=[0, 2, 1])
    x = g.node("MatMul", x, g.constant(normal(12, 48)))
    x = g.node("Relu", g.node("Add", x, g.constant(normal(48))))
    x = g.node("Mul", x, g.constant(np.float32([0.5])))
    x = g.node("Add", x, g.constant(np.float32([0.1])))
    g.save(g.node("Softmax", g.node("MatMul", x, g.constant(normal(48, 30))), axis=2))


def main():
    for make in (tf_convolutions, tf_separable, tf_norm_behind_transpose, tf_dense_sequence,
                 tf_conv1d, paddle_block, paddle_head):
        make()


if __name__ == "__main__":
    main()
