"""A model made for the oracle: three matrix products wide enough to gain from dynamic integers,
which the convolutional models of models/ do not have. Its data follows the same file names.

    input [N,16,256] -> MatMul 256x512, Add, Relu -> MatMul 512x512, Add, Relu -> mean over the rows
    -> Gemm 512x10 -> logits [N,10]

Weights are random (fixed seed, columns of different size), the labels are what float says.
"""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import ort_tools

ROWS, WIDTH, HIDDEN, CLASSES = 16, 256, 512, 10


def weights(rng):
    """Initializers by name; each column of a matrix has a size of its own."""
    made = {}
    for name, rows, columns in (("w1", WIDTH, HIDDEN), ("w2", HIDDEN, HIDDEN),
                                ("w3", HIDDEN, CLASSES)):
        size = rng.uniform(0.5, 2.0, columns) / np.sqrt(rows)
        made[name] = (rng.standard_normal((rows, columns)) * size).astype(np.float32)
        made["b" + name[1]] = rng.uniform(-0.2, 0.2, columns).astype(np.float32)
    return made


def perceptron(rng):
    node = helper.make_node
    nodes = [
        node("MatMul", ["input", "w1"], ["p1"], "first/MatMul"),
        node("Add", ["p1", "b1"], ["s1"], "first/Add"),
        node("Relu", ["s1"], ["r1"], "first/Relu"),
        node("MatMul", ["r1", "w2"], ["p2"], "second/MatMul"),
        node("Add", ["p2", "b2"], ["s2"], "second/Add"),
        node("Relu", ["s2"], ["r2"], "second/Relu"),
        node("ReduceMean", ["r2"], ["m"], "mean", axes=[1], keepdims=0),
        node("Gemm", ["m", "w3", "b3"], ["logits"], "third/Gemm"),
    ]
    graph = helper.make_graph(
        nodes, "perceptron",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", ROWS, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights(rng).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(rng, count):
    """Rows that share a direction of their sample, so that the mean over them says something."""
    common = rng.standard_normal((count, 1, WIDTH))
    return (common + 0.5 * rng.standard_normal((count, ROWS, WIDTH))).astype(np.float32)


def make_perceptron(folder):
    """Writes the model and its two data files; the model's path."""
    rng, stem = np.random.default_rng(5), os.path.join(folder, "perceptron")
    onnx.save(perceptron(rng), stem + ".onnx")
    np.savez(stem + "_calibration.npz", input=samples(rng, 64))
    test = samples(rng, 200)
    logits = ort_tools.run(ort_tools.session(stem + ".onnx"), {"input": test})["logits"]
    np.savez(stem + "_test.npz", input=test, labels=logits.argmax(1))
    return stem + ".onnx"
