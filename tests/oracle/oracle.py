"""Holds onnxpress against ONNX Runtime and the ONNX checker: on the trained models of models/, and
on one made here for what those do not have (made_models.py).

What is asked of each model: the interpreter computes what ONNX Runtime computes, with its
optimisations and without; every precision gives a file that the checker accepts and ONNX Runtime
loads, as good as the report says; nodes that are called quantised are integer operators once
ONNX Runtime has optimised the graph; --precision none changes no byte.
"""
import glob
import math
import os
import sys
import tempfile

import numpy as np

import fusion
import made_models
import ort_tools
import structure
from harness import (ROOT, Checks, Workspace, checker_error, compare, compress, onnxpress,
                     outputs_by_name, same_bytes, xxh3)

FLOAT_ERROR = 1e-4      # relative to the output's largest value
LEAST_SQNR_DB = 20.0
REPORT_DB = 0.1
MOST_BYTES = {"w8": 0.33, "w8a8": 0.36, "dynamic": 1.01}   # of the float model's
LEAST_SQNR_BY_PRECISION = {"w8": 35.0}
# Its one matrix product is 96 x 10, and a Conv has no dynamic form: nothing need be dynamic.
NOTHING_DYNAMIC = ("fashion_mnist",)


class Case:
    """A model with its data and what ONNX Runtime makes of it in float."""

    def __init__(self, model):
        stem = model[:-len(".onnx")]
        self.name, self.model = os.path.basename(stem), model
        self.calibration, self.test = stem + "_calibration.npz", stem + "_test.npz"
        self.calibration_arrays, _ = ort_tools.load_data(self.calibration)
        self.test_arrays, self.labels = ort_tools.load_data(self.test)
        self.test_count = len(self.labels)
        session = ort_tools.session(model)
        self.outputs = ort_tools.float_outputs(session)
        self.float_calibration = ort_tools.run(session, self.calibration_arrays)
        self.float_test = ort_tools.run(session, self.test_arrays)


def check_float_run(checks, work, case):
    """The interpreter against ONNX Runtime with its optimisations on and off."""
    saved = work.path("run.npz")
    onnxpress("run", case.model, "--data", case.test, "--save", saved)
    plain = ort_tools.run(ort_tools.session(case.model, optimised=False), case.test_arrays)
    with np.load(saved) as ours:
        for name in case.outputs:
            for kind, theirs in (("as written", plain), ("optimised", case.float_test)):
                error = ort_tools.largest_relative_error(theirs[name], ours[name])
                checks.check(f"{case.name} run, output {name}, against ONNX Runtime {kind}",
                             error <= FLOAT_ERROR, f"largest relative error {error:.2g}")


def check_untouched(checks, work, case):
    out, _ = compress(work, case.model, "none")
    checks.check(f"{case.name} none: byte-identical", same_bytes(case.model, out))


def check_file(checks, case, label, out, report):
    """What the report says about the files themselves, and what the checker says."""
    error = checker_error(out)
    checks.check(f"{label}: the ONNX checker accepts it", error is None, error or "")
    stated = [(report[k]["bytes"], report[k]["xxh3"]) for k in ("model", "output")]
    found = [(os.path.getsize(p), xxh3(p)) for p in (case.model, out)]
    checks.check(f"{label}: bytes and xxh3 in the report are the files'", stated == found,
                 f"{found[1][0]} bytes, {found[0][0] / found[1][0]:.2f} times smaller")
    ratio = found[0][0] / found[1][0]
    checks.check(f"{label}: ratio in the report", abs(report["ratio"] - ratio) < 0.01,
                 f"stated {report['ratio']:.3f}, is {ratio:.3f}")


def check_quality(checks, work, case, label, precision, session, out, report):
    """Stated SQNR against ONNX Runtime's, on both sets, and the accuracy with its interval."""
    stated = outputs_by_name(report)
    on_calibration = ort_tools.run(session, case.calibration_arrays)
    on_test = ort_tools.run(session, case.test_arrays)
    compared = compare(work, case.model, out, case.test)
    least = LEAST_SQNR_BY_PRECISION.get(precision, LEAST_SQNR_DB)
    for name in case.outputs:
        theirs = ort_tools.sqnr_db(case.float_test[name], on_test[name])
        checks.check(f"{label}, output {name}: at least {least:g} dB in ONNX Runtime",
                     theirs >= least, f"{theirs:.2f} dB on {case.test_count} test samples")
        ours = outputs_by_name(compared)[name]["sqnr_db"]
        checks.check(f"{label}, output {name}: compare agrees with ONNX Runtime",
                     close_db(ours, theirs), f"{ours:.2f} and {theirs:.2f} dB")
        held = report["data"]["measured_on"]
        theirs = ort_tools.sqnr_db(case.float_calibration[name][held], on_calibration[name][held])
        ours = stated[name]["sqnr_db"]
        checks.check(f"{label}, output {name}: the report agrees with ONNX Runtime",
                     close_db(ours, theirs), f"{ours:.2f} and {theirs:.2f} dB")
    check_accuracy(checks, case, label, on_test[case.outputs[0]], compared["accuracy"])


def close_db(a, b):
    return a == b or (math.isfinite(a) and abs(a - b) <= REPORT_DB)


def check_accuracy(checks, case, label, logits, stated):
    before = ort_tools.top1(case.float_test[case.outputs[0]], case.labels)
    after = ort_tools.top1(logits, case.labels)
    checks.check(f"{label}: stated accuracies are ONNX Runtime's",
                 abs(stated["a"] - before) <= 0.001 and abs(stated["b"] - after) <= 0.004,
                 f"before {stated['a']:.4f} and {before:.4f}, "
                 f"after {stated['b']:.4f} and {after:.4f}")
    checks.check(f"{label}: ONNX Runtime's change of accuracy is within the stated interval",
                 stated["low"] - 1e-9 <= after - before <= stated["high"] + 1e-9,
                 f"{after - before:+.4f} in [{stated['low']:+.4f}, {stated['high']:+.4f}]")


def check_fusion(checks, case, precision, out, report):
    label = f"{case.name} {precision}"
    findings = fusion.judge(case.model, out, report)
    if precision != "dynamic" or case.name not in NOTHING_DYNAMIC:
        checks.check(f"{label}: something is called quantised", len(findings) > 0)
    checks.check(f"{label}: what is called quantised is computed in integers",
                 all(f.fused for f in findings), fusion.describe(findings))
    alone = fusion.uncalled(out)
    checks.check(f"{label}: ONNX Runtime quantises nothing on its own", not alone,
                 ", ".join(alone[:4]))


def check_precision(checks, work, case, precision):
    label = f"{case.name} {precision}"
    out, report = compress(work, case.model, precision, case.calibration)
    check_file(checks, case, label, out, report)
    most = MOST_BYTES[precision]
    share = os.path.getsize(out) / os.path.getsize(case.model)
    checks.check(f"{label}: at most {most:.0%} of the bytes", share <= most, f"{share:.1%}")
    session = ort_tools.session(out)
    checks.attempt(f"{label}: quality", check_quality, checks, work, case, label, precision,
                   session, out, report)
    if precision in ("w8a8", "dynamic"):
        checks.attempt(f"{label}: fusion", check_fusion, checks, case, precision, out,
                       report)


def check_without_data(checks, work, case):
    """`w8` needs no data, and its plain codes are those that are made when there is some."""
    with_data, _ = compress(work, case.model, "w8", case.calibration, "--no-metadata", "--rounding",
                            "nearest", "--bias-correction", "off", "--equalize", "off")
    kept = work.path("w8-with-data.onnx")
    os.replace(with_data, kept)
    without, _ = compress(work, case.model, "w8", None, "--no-metadata")
    checks.check(f"{case.name} w8: data changes no byte", same_bytes(kept, without))


def check_labels(checks, work, case):
    """compress on labelled data states the accuracy on it."""
    some = 500
    arrays = {name: array[:some] for name, array in case.test_arrays.items()}
    labelled = work.path("labelled.npz")
    np.savez(labelled, labels=case.labels[:some], **arrays)
    out, report = compress(work, case.model, "w8a8", labelled)
    stated, name = report["accuracy"], case.outputs[0]
    logits = ort_tools.run(ort_tools.session(out), arrays)[name]
    change = ort_tools.top1(logits, case.labels[:some]) - \
        ort_tools.top1(case.float_test[name][:some], case.labels[:some])
    checks.check(f"{case.name} w8a8 on labelled data: ONNX Runtime's change is within the interval",
                 stated["low"] - 1e-9 <= change <= stated["high"] + 1e-9,
                 f"{change:+.4f} in [{stated['low']:+.4f}, {stated['high']:+.4f}]")


def check_external_data(checks, work, case, precision):
    """The same model in one file and in two: checker, ONNX Runtime and report agree on both."""
    data = case.calibration if precision == "w8a8" else None
    one, _ = compress(work, case.model, precision, data)
    expected = ort_tools.run(ort_tools.session(one), case.test_arrays)
    two, report = compress(work, case.model, precision, data, "--external-data")
    label = f"{case.name} {precision} --external-data"
    error = checker_error(two)
    checks.check(f"{label}: the ONNX checker accepts it", error is None, error or "")
    sizes = [os.path.getsize(p) for p in (two, two + ".data")]
    checks.check(f"{label}: bytes in the report are those of both files",
                 report["output"]["bytes"] == sum(sizes), f"{sizes[0]} + {sizes[1]} bytes")
    found = ort_tools.run(ort_tools.session(two), case.test_arrays)
    checks.check(f"{label}: ONNX Runtime gives the same bytes as for one file",
                 all(np.array_equal(found[name], expected[name]) for name in case.outputs))


def check_model(checks, model):
    case = Case(model)
    with Workspace() as work:
        checks.attempt(f"{case.name} run", check_float_run, checks, work, case)
        checks.attempt(f"{case.name} none", check_untouched, checks, work, case)
        for precision in ("w8", "w8a8", "dynamic"):
            checks.attempt(f"{case.name} {precision}", check_precision, checks, work, case,
                           precision)
        checks.attempt(f"{case.name} w8 without data", check_without_data, checks, work, case)
        for precision in ("none", "w8", "w8a8"):
            checks.attempt(f"{case.name} {precision} --external-data", check_external_data, checks,
                           work, case, precision)
        checks.attempt(f"{case.name} labels", check_labels, checks, work, case)
        structure.check_structure(checks, work, case)


def main():
    checks = Checks()
    models = sorted(glob.glob(os.path.join(ROOT, "models", "*.onnx")))
    checks.check("models/ holds a model", len(models) > 0, f"{len(models)}")
    with tempfile.TemporaryDirectory() as folder:
        for model in [*models, made_models.make_perceptron(folder)]:
            checks.attempt(os.path.basename(model), check_model, checks, model)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
