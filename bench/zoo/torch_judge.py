"""Holds onnxpress against ONNX Runtime on models exported from PyTorch (torch_models.py).

    torch_judge.py [NAME...]

For each model: the interpreter's outputs are ONNX Runtime's; each precision succeeds, and its file
is accepted by the checker, loads, runs and keeps the outputs; no DequantizeLinear is left on a
weight. Of w8a8: at least 95 % of the nodes with a weight are integer operators in the graph that
ONNX Runtime runs, or stored with the reason, and what is called quantised is fused there. Prints a
line per check, a table, and the count.
"""
import collections
import math
import os
import sys

import numpy as np
import onnx
import onnxruntime as ort

import cache

sys.path.insert(0, cache.ORACLE)
import fusion  # noqa: E402
import ort_tools  # noqa: E402
from harness import Checks, Workspace, checker_error, compress, onnxpress  # noqa: E402

FLOAT_ERROR = 1e-4
# The bound that compress keeps is 20 dB on the samples it holds out; here others judge.
LEAST_DB = {"w8a8": 17.0, "dynamic": 17.0, "w8": 17.0, "fp16": 40.0}
MOST_BYTES = {"w8a8": 0.4, "dynamic": 0.4, "w8": 0.4, "fp16": 0.6}
LEAST_ACCOUNTED = LEAST_FUSED = 0.95
PRODUCTS = {"Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm",
            "LSTM", "GRU", "RNN", "Attention"}
Account = collections.namedtuple("Account", "integer stored left reasons")


def folder():
    return os.path.dirname(cache.place("torch", "x"))


def known():
    return sorted(f[:-5] for f in os.listdir(folder()) if f.endswith(".onnx"))


class Subject:
    def __init__(self, name):
        self.name = name
        self.model = cache.place("torch", name + ".onnx")
        self.calibration = cache.place("torch", name + "_calibration.npz")
        self.evaluation = cache.place("torch", name + "_evaluation.npz")
        self.arrays, _ = ort_tools.load_data(self.evaluation)
        self.session = ort_tools.session(self.model)
        self.names = ort_tools.float_outputs(self.session)
        self.reference = ort_tools.run(self.session, self.arrays)

    def sqnr(self, path):
        outputs = ort_tools.run(ort_tools.session(path), self.arrays)
        return min(ort_tools.sqnr_db(self.reference[n], outputs[n]) for n in self.names)


# ---- what stands in the graph that ONNX Runtime runs ----

def weighted_nodes(model):
    """Float operators with a constant among their inputs that has two dimensions or more."""
    sizes = {t.name: len(t.dims) for g in fusion.graphs(model.graph) for t in g.initializer}
    return [node for node in fusion.all_nodes(model) if node.op_type in PRODUCTS
            and any(sizes.get(name, 0) >= 2 for name in node.input[:3])]


def dequantised_weights(model):
    """Names of constants of two dimensions or more that a DequantizeLinear of the graph reads."""
    sizes = {t.name: len(t.dims) for g in fusion.graphs(model.graph) for t in g.initializer}
    return sorted(node.input[0] for node in fusion.all_nodes(model)
                  if node.op_type == "DequantizeLinear" and sizes.get(node.input[0], 0) >= 2)


def folded(path):
    """The graph with constants folded and no kernels chosen: layouts turn a lone
    BatchNormalization into a convolution."""
    with Workspace() as work:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = work.path("folded.onnx")
        options.log_severity_level = 3
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def account(subject, out, report):
    """What became of the nodes that have a weight in the float graph that ONNX Runtime runs."""
    findings = fusion.judge(subject.model, out, report)
    integer = sum(f.fused for f in findings)
    reasons = collections.Counter()
    for weight in report["weights"]:
        if weight["op"] in PRODUCTS and weight["technique"] in ("w8", "fp16", "float"):
            reasons[weight.get("reason", "")] += len(weight.get("nodes") or [weight["node"]])
    silent = reasons.pop("", 0)
    total = len(weighted_nodes(folded(subject.model)))
    stored = sum(reasons.values())
    left = max(total - integer - stored, silent)
    return findings, Account(integer, stored, left, reasons)


# ---- checks ----

def check_run(checks, work, subject):
    saved = work.path("run.npz")
    onnxpress("run", subject.model, "--data", subject.evaluation, "--save", saved, "--force")
    with np.load(saved) as ours:
        error = max(ort_tools.largest_relative_error(subject.reference[n], ours[n])
                    for n in subject.names)
    checks.check(f"{subject.name} run against ONNX Runtime", error <= FLOAT_ERROR, f"{error:.2g}")
    return error


def check_form(checks, work, subject, precision):
    """One precision; its figures and its report."""
    label = f"{subject.name} {precision}"
    out, report = compress(work, subject.model, precision, subject.calibration)
    error = checker_error(out)
    checks.check(f"{label}: the ONNX checker accepts it", error is None, error or "")
    sqnr, size = subject.sqnr(out), os.path.getsize(out)
    share = size / os.path.getsize(subject.model)
    checks.check(f"{label}: outputs", sqnr >= LEAST_DB[precision], f"{sqnr:.1f} dB")
    checks.check(f"{label}: bytes", share <= MOST_BYTES[precision], f"{share:.1%}")
    found = dequantised_weights(fusion.optimised(out))
    checks.check(f"{label}: no DequantizeLinear is left on a weight", not found,
                 ", ".join(found[:4]))
    return out, report, {"sqnr": sqnr, "ratio": 1 / share, "seconds": report["seconds"]["total"],
                         "peak": report["peak_rss_bytes"] / 2**20}


def check_account(checks, subject, out, report):
    findings, found = account(subject, out, report)
    total = found.integer + found.stored + found.left
    share = (found.integer + found.stored) / total if total else 1
    checks.check(f"{subject.name} w8a8: nodes in integers or stored with the reason",
                 share >= LEAST_ACCOUNTED and total,
                 f"{found.integer} integer, {found.stored} stored, {found.left} left")
    checks.check(f"{subject.name} w8a8: what is called quantised is fused",
                 fusion.share(findings) >= LEAST_FUSED, fusion.describe(findings))
    return found


def judge(checks, name):
    subject, row = Subject(name), {}
    with Workspace() as work:
        row["error"] = checks.attempt(f"{name} run", check_run, checks, work, subject)
        for precision in LEAST_DB:
            done = checks.attempt(f"{name} {precision}", check_form, checks, work, subject,
                                  precision)
            if done and precision == "w8a8":
                row.update(done[2])
                row["account"] = checks.attempt(f"{name} account", check_account, checks, subject,
                                                *done[:2])
            elif done:
                row[precision] = done[2]
    return row


# ---- the table ----

def number(value, pattern):
    return "-" if value is None or (isinstance(value, float) and math.isnan(value)) else \
        format(value, pattern)


def print_table(rows):
    print(f"\n{'model':<20}{'error':>9}{'smaller':>9}{'SQNR':>7}{'int':>5}{'stored':>7}{'left':>5}"
          f"{'s':>7}{'MB':>6}   w8, fp16, dynamic: times smaller, dB")
    for name, row in rows:
        kept = row.get("account") or Account(None, None, None, {})
        others = " ".join(f"{row[p]['ratio']:.2f}/{row[p]['sqnr']:.0f}" if p in row else "-"
                          for p in ("w8", "fp16", "dynamic"))
        print(f"{name:<20}{number(row.get('error'), '9.1e')}{number(row.get('ratio'), '9.2f')}"
              f"{number(row.get('sqnr'), '7.1f')}{number(kept.integer, '5d')}"
              f"{number(kept.stored, '7d')}{number(kept.left, '5d')}"
              f"{number(row.get('seconds'), '7.1f')}{number(row.get('peak'), '6.0f')}   {others}")
    reasons = collections.Counter()
    for _, row in rows:
        reasons.update(row["account"].reasons if row.get("account") else {})
    print("\nnodes stored, by reason:")
    for reason, count in reasons.most_common():
        print(f"{count:6}  {reason}")
    print()


def main():
    names, checks = sys.argv[1:] or known(), Checks()
    for name in names:
        if name not in known():
            raise SystemExit(f"torch_judge.py: no model {name}; there are {', '.join(known())}")
    print_table([(name, checks.attempt(name, judge, checks, name) or {}) for name in names])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
