"""Holds onnxpress against models that are quantised in part or half precision (partly_models.py).

    partly_judge.py [NAME...]

In every precision: it succeeds, the file loads, runs and keeps the outputs; every integer constant
of the given model is still there with every bit; nothing is quantised twice: no QuantizeLinear
reads what a DequantizeLinear makes unless it did before, and no constant in 8 bits or less is read
by what did not read it before; what was float or half is smaller or the report says why not; the
report names what it kept; what it calls quantised is fused.
"""
import collections
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper

import cache
import partly_models

sys.path.insert(0, cache.ORACLE)
import fusion  # noqa: E402
import ort_tools  # noqa: E402
from harness import Checks, Workspace, checker_error, compress, onnxpress  # noqa: E402

LEAST_DB = {"w8": 20.0, "fp16": 30.0, "dynamic": 20.0, "w8a8": 20.0}
# The runtimes round at other places in half precision; a code next to a rounding boundary differs
# by one step, and what stands behind it with it.
FLOAT_ERROR, HALF_ERROR, CODE_ERROR = 1e-4, 1e-2, 5e-2
SAMPLES, LARGE = 64, 256
CODES = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def tensors(model):
    return {t.name: t for g in fusion.graphs(model.graph) for t in g.initializer}


def readers(model):
    found = collections.defaultdict(set)
    for node in fusion.all_nodes(model):
        for name in node.input:
            found[name].add(node.op_type)
    return found


def kept_codes(before, after):
    """Integer constants of several elements that are gone, changed, or read by other operators."""
    new, was, now = tensors(after), readers(before), readers(after)
    wrong = []
    for name, tensor in tensors(before).items():
        if tensor.data_type not in CODES or np.prod(tensor.dims, dtype=int) < 2:
            continue
        same = name in new and np.array_equal(numpy_helper.to_array(tensor),
                                              numpy_helper.to_array(new[name]))
        if not same or now[name] - was[name]:
            wrong.append(name)
    return wrong


def quantised_twice(model):
    """Tensors that a DequantizeLinear makes and a QuantizeLinear reads, Identity aside."""
    nodes = fusion.all_nodes(model)
    maker = {n.output[0]: n for n in nodes if n.op_type in ("DequantizeLinear", "Identity")}
    found = set()
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear"):
            name = node.input[0]
            while name in maker and maker[name].op_type == "Identity":
                name = maker[name].input[0]
            found |= {name} if name in maker else set()
    return found


def operators(model, prefix):
    return collections.Counter(n.op_type for n in fusion.all_nodes(model)
                               if any(p in n.op_type for p in prefix))


def left_large(model):
    """Constants of two dimensions that are still float."""
    scales = {name for n in fusion.all_nodes(model) if n.domain == "com.microsoft"
              or n.op_type == "Mul" and any("scale" in i for i in n.input) for name in n.input[1:]}
    return [f"{t.name} {list(t.dims)}" for t in tensors(model).values() if t.name not in scales
            and t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims, dtype=int) >= LARGE
            and len([d for d in t.dims if d > 1]) > 1]


class Subject:
    def __init__(self, name, partly):
        self.name, self.partly = name, partly
        self.model = onnx.load(partly.path)
        arrays, _ = ort_tools.load_data(partly.evaluation)
        self.arrays = {k: v[:SAMPLES] for k, v in arrays.items()}
        self.session = ort_tools.session(partly.path)
        self.names = ort_tools.float_outputs(self.session)
        self.reference = ort_tools.run(self.session, self.arrays)
        types = {t.data_type for t in tensors(self.model).values()}
        self.tolerance = CODE_ERROR if types & CODES else FLOAT_ERROR
        if types & HALVES and not types & CODES:
            self.tolerance = HALF_ERROR


def check_run(checks, work, subject):
    data, saved = work.path("data.npz"), work.path("run.npz")
    np.savez(data, **subject.arrays)
    onnxpress("run", subject.partly.path, "--data", data, "--save", saved, "--force")
    with np.load(saved) as ours:
        plain = ort_tools.run(ort_tools.session(subject.partly.path, optimised=False),
                              subject.arrays)
        error = max(ort_tools.largest_relative_error(plain[n], ours[n]) for n in subject.names)
        least = min(ort_tools.sqnr_db(plain[n], ours[n]) for n in subject.names)
    checks.check(f"{subject.name} run", error <= subject.tolerance, f"{error:.2g}, {least:.0f} dB")


def check_form(checks, work, subject, precision):
    label = f"{subject.name} {precision}"
    out, report = compress(work, subject.partly.path, precision, subject.partly.calibration)
    made = onnx.load(out)
    error = checker_error(out)
    checks.check(f"{label}: the ONNX checker accepts it", error is None, error or "")
    outputs = ort_tools.run(ort_tools.session(out), subject.arrays)
    least = min(ort_tools.sqnr_db(subject.reference[n], outputs[n]) for n in subject.names)
    share = os.path.getsize(out) / os.path.getsize(subject.partly.path)
    checks.check(f"{label}: outputs", least >= LEAST_DB[precision],
                 f"{least:.1f} dB, {share:.1%} of the bytes")
    wrong = kept_codes(subject.model, made)
    checks.check(f"{label}: the codes that were there are kept", not wrong, ", ".join(wrong[:4]))
    twice = quantised_twice(made) - quantised_twice(subject.model)
    checks.check(f"{label}: nothing is quantised twice", not twice, ", ".join(sorted(twice)[:4]))
    told = {w["name"] for w in report["weights"] if w.get("reason")}
    silent = [t for t in left_large(made) if t.split(" ")[0] not in told]
    checks.check(f"{label}: the rest is compressed or the report says why not", not silent,
                 ", ".join(silent[:4]))
    kept = report.get("kept", [])
    there = any(t.data_type in CODES and np.prod(t.dims, dtype=int) >= LARGE
                for t in tensors(subject.model).values())
    checks.check(f"{label}: the report names what was kept", bool(kept) == there, f"{len(kept)}")
    findings = fusion.judge(subject.partly.path, out, report)
    checks.check(f"{label}: what is called quantised is fused", fusion.share(findings) == 1,
                 fusion.describe(findings))
    techniques = collections.Counter(w["technique"] for w in report["weights"])
    print(f"     {label}: {dict(techniques)}", flush=True)


def judge(checks, name, partly):
    subject = Subject(name, partly)
    with Workspace() as work:
        checks.attempt(f"{name} run", check_run, checks, work, subject)
        for precision in LEAST_DB:
            checks.attempt(f"{name} {precision}", check_form, checks, work, subject, precision)


def main():
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        made = partly_models.make_all(folder)
        for name in sys.argv[1:] or made:
            checks.attempt(name, judge, checks, name, made[name])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
