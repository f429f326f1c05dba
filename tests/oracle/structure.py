"""Are weights with zeros and weights in two factors what ONNX Runtime is given, and what they were
said to be?

For a model and its data: the checker accepts the file, ONNX Runtime gives our interpreter's outputs
and folds every expression that places zeros or multiplies factors (nothing of them is left in the
graph that it runs), the weights are as sparse as was asked, on the pattern that was asked; solving
for what stays loses less than half of what the smallest weights set to zero lose, on a trained
model; two factors give fewer bytes.
"""
import os

import numpy as np
import onnx
from onnx import numpy_helper

import ort_tools
from harness import ROOT, checker_error, onnxpress

# What stands in the expressions of sparse forms and of folded factors, in no case's own graph.
OF_EXPRESSIONS = {"CumSum", "ScatterND", "ConstantOfShape", "Gather", "Floor", "Sub"}
LAYERS = {"Conv", "FusedConv", "MatMul", "Gemm", "FusedGemm", "FusedMatMul"}
SAME_OUTPUT = 1e-4      # relative to the output's largest value


def compress(work, case, pipeline, calibration):
    out = work.path("structure.onnx")
    onnxpress("compress", case.model, "-o", out, "--pipeline", pipeline, "--min-sqnr", "0",
              "--force", "--data", calibration)
    return out


def optimised(work, path):
    dump = work.path("optimised.onnx")
    return ort_tools.session(path, dump=dump), onnx.load(dump)


def weights(graph):
    """Float weights of layers as [outputs, inputs, taps]."""
    initializers = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul") \
                and node.input[1] in initializers:
            array = numpy_helper.to_array(initializers[node.input[1]])
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if node.op_type in ("MatMul", "Gemm", "FusedGemm") and not transposed:
                array = array.T
            yield node, array.reshape(array.shape[0], array.shape[1], -1)


def plain_graph(path, work):
    """The graph with constants folded and nothing else changed: weights are plain again."""
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = work.path("plain.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(work.path("plain.onnx")).graph


def is_pruned(node, array):
    """Not a filter for each channel, not too small to be taken."""
    return array.shape[1] > 1 and array.size >= 512


def check_zeros(checks, work, label, out, pattern):
    taken = [a for node, a in weights(plain_graph(out, work)) if is_pruned(node, a)]
    checks.check(f"{label}: weights that could be pruned", len(taken) > 0, f"{len(taken)}")
    if pattern:
        most = max(int(np.count_nonzero(a[:, i:i + 4], axis=1).max())
                   for a in taken for i in range(0, a.shape[1], 4))
        checks.check(f"{label}: at most 2 of 4 inputs stay at every tap", most <= 2, f"{most}")
    else:
        shares = [1 - np.count_nonzero(a) / a.size for a in taken]
        checks.check(f"{label}: half of each weight is zero",
                     max(abs(s - 0.5) for s in shares) < 0.02,
                     f"{min(shares):.3f} to {max(shares):.3f}")


def check_run(checks, work, case, label, out):
    """The outputs of ONNX Runtime on the test data, once they are our own."""
    error = checker_error(out)
    checks.check(f"{label}: the ONNX checker accepts it", error is None, error or "")
    session, graph = optimised(work, out)
    left = sorted({n.op_type for n in graph.graph.node} & OF_EXPRESSIONS)
    checks.check(f"{label}: ONNX Runtime folds every expression", not left, ", ".join(left))
    found = ort_tools.run(session, case.test_arrays)
    saved = work.path("structure.npz")
    onnxpress("run", out, "--data", case.test, "--save", saved, "--force")
    with np.load(saved) as ours:
        worst = max(ort_tools.largest_relative_error(found[n], ours[n]) for n in case.outputs)
    checks.check(f"{label}: our outputs are ONNX Runtime's", worst <= SAME_OUTPUT,
                 f"largest relative error {worst:.2g}")
    return found


def noise(case, outputs):
    name = case.outputs[0]
    return float(np.sum((np.asarray(outputs[name], np.float64) - case.float_test[name]) ** 2))


def is_trained(case):
    """Random weights on independent inputs leave nothing that others could take up."""
    return os.path.dirname(os.path.abspath(case.model)) == os.path.join(ROOT, "models")


def check_prune(checks, work, case):
    for how, pattern in (("sparsity=0.5", False), ("pattern=2:4", True)):
        lost = {}
        for method in ("magnitude,resolve=no", "obs,resolve=yes"):
            label = f"{case.name} prune:{how},method={method}"
            out = compress(work, case, f"prune:{how},method={method}", case.calibration)
            lost[method] = noise(case, check_run(checks, work, case, label, out))
            check_zeros(checks, work, label, out, pattern)
            ratio = os.path.getsize(out) / os.path.getsize(case.model)
            checks.check(f"{label}: fewer bytes", ratio < 0.75, f"{ratio:.1%}")
        plain, solved = lost.values()
        most = 0.5 if is_trained(case) else 1.1
        checks.check(f"{case.name} prune:{how}: solved for, at most {most:g} of it is lost",
                     solved < most * plain, f"{solved / plain:.3f}")


def layer_count(work, path):
    graph = optimised(work, path)[1].graph
    return sum(node.op_type in LAYERS for node in graph.node)


def check_factors(checks, work, case):
    """A folded product leaves as many layers as there were; two layers are more."""
    plain = layer_count(work, case.model)
    for form in ("auto", "fold", "split"):
        label = f"{case.name} lowrank:rank=0.4,form={form}"
        out = compress(work, case, f"lowrank:rank=0.4,form={form}", case.calibration)
        check_run(checks, work, case, label, out)
        layers = layer_count(work, out)
        good = layers == plain if form == "fold" else layers > plain if form == "split" else True
        checks.check(f"{label}: layers in ONNX Runtime", good, f"{layers}, were {plain}")
        before, after = os.path.getsize(case.model), os.path.getsize(out)
        checks.check(f"{label}: fewer bytes", after < before, f"{after / before:.1%}")


def check_codes(checks, work, case):
    """8-bit codes of which half are zero: a mask and the others."""
    label, most = f"{case.name} prune:pattern=2:4+w8", 0.3
    out = compress(work, case, "prune:pattern=2:4+w8", case.calibration)
    check_run(checks, work, case, label, out)
    ratio = os.path.getsize(out) / os.path.getsize(case.model)
    checks.check(f"{label}: at most {most:.0%} of the bytes", ratio <= most, f"{ratio:.1%}")


def check_structure(checks, work, case):
    checks.attempt(f"{case.name} prune", check_prune, checks, work, case)
    checks.attempt(f"{case.name} prune+w8", check_codes, checks, work, case)
    checks.attempt(f"{case.name} lowrank", check_factors, checks, work, case)
