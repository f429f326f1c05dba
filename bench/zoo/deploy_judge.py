"""Predicted latency and memory against ONNX Runtime's, one thread: see bench/deploy-test."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import cache

sys.path.insert(0, cache.ORACLE)
import ort_tools  # noqa: E402

ONNXPRESS = os.environ["ONNXPRESS"]
ZOO = ["fashion_mnist", "ppocr_cls", "embedding_model", "minilm_l3", "blazeface_back", "ppocr_rec",
       "ppocr_det"]
TORCH = ["resnet50", "mobilenet_v2", "densenet121"]
MEMORY = ["resnet50", "mobilenet_v2", "densenet121"]
SECONDS = 2.0  # of measuring a model
NARROW = 4.0  # high / low, at most
INSIDE, ORDER = 0.9, 0.8  # shares of models; Kendall's tau
MEMORY_SLACK = 0.25
MEMORY_BYTES = 1 << 30


def onnxpress(*words):
    result = subprocess.run([ONNXPRESS, *map(str, words)], capture_output=True, text=True,
                            check=False)
    if result.returncode not in (0, 1):
        raise RuntimeError(result.stderr.strip())
    return result.stdout


def paths(name):
    """Model, calibration data, evaluation data."""
    if name in TORCH:
        base = os.path.join(cache.root(), "torch", name)
        return base + ".onnx", base + "_calibration.npz", base + "_evaluation.npz"
    return (cache.model_path(name), cache.data_path(name, "calibration"),
            cache.data_path(name, "evaluation"))


def first_sample(session, data):
    arrays, _ = ort_tools.load_data(data)
    return next(iter(ort_tools.samples(session, arrays)))


def measured(model, data):
    """Median seconds of one warm inference on one thread."""
    session = ort_tools.session(model)
    feed, times = first_sample(session, data), []
    for _ in range(3):
        session.run(None, feed)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def kendall(a, b):
    pairs = [(i, j) for i in range(len(a)) for j in range(i)]
    return sum(np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i, j in pairs) / len(pairs)


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, text):
        self.passed += bool(good)
        self.failed += not good
        print(("ok   " if good else "FAIL ") + text)


def machine(folder, some_model, data):
    path = os.path.join(folder, "machine.json")
    said = json.loads(onnxpress("deploy", some_model, "--data", data, "--measure", "--json", "-"))
    with open(path, "w", encoding="utf-8") as f:
        json.dump(said["machine"], f)
    return path


def compressed(folder, name):
    model, calibration, _ = paths(name)
    out = os.path.join(folder, name + "_w8a8.onnx")
    onnxpress("compress", model, "-o", out, "--precision", "w8a8", "--data", calibration, "--keep",
              "-q")
    return out


def judge_latency(checks, form, models, described):
    low_high, times = [], []
    for name, model in models.items():
        data = paths(name)[2]
        said = json.loads(onnxpress("deploy", model, "--data", data, "--machine", described,
                                    "--json", "-"))["latency"]
        seconds = measured(model, data)
        low_high.append((said["low"], said["high"]))
        times.append(seconds)
        print("     %-16s %-5s %8.3f .. %8.3f ms, measured %8.3f ms%s, %.1f times" % (
            name, form, said["low"] * 1e3, said["high"] * 1e3, seconds * 1e3,
            "" if said["low"] <= seconds <= said["high"] else " OUTSIDE",
            said["high"] / said["low"]))
    n = len(times)
    inside = sum(low <= t <= high for (low, high), t in zip(low_high, times))
    narrow = sum(high <= NARROW * low for low, high in low_high)
    tau = kendall([(low * high) ** 0.5 for low, high in low_high], times) if n > 1 else 1.0
    checks.check(inside >= INSIDE * n, "%s: %d of %d inside the bracket" % (form, inside, n))
    checks.check(narrow >= INSIDE * n, "%s: %d of %d brackets within %g times" % (
        form, narrow, n, NARROW))
    checks.check(tau >= ORDER, "%s: order of the models, tau %.2f" % (form, tau))


RUN = """
import resource, sys, numpy as np, onnxruntime as ort
def session(model):
    o = ort.SessionOptions()
    o.intra_op_num_threads = 1
    o.log_severity_level = 3
    return ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
model, batch, shape = sys.argv[1], int(sys.argv[2]), [int(d) for d in sys.argv[3].split("x")]
x = np.zeros([batch] + shape, np.float32)
before = peak()
s = session(model)
s.run(None, {s.get_inputs()[0].name: x})
print(peak() - before)
"""


def judge_memory(checks, name, described):
    """The largest batch for 1 GiB needs that, give or take a quarter; the runtime's own bytes are
    those of an empty session, which the measuring process has from the start."""
    model, _, data = paths(name)
    said = json.loads(onnxpress("deploy", model, "--data", data, "--machine", described,
                                "--memory", MEMORY_BYTES, "--json", "-"))["batch"]
    resident, each, largest = (said[k] for k in ("resident_bytes", "activation_bytes_per_sample",
                                                 "largest"))
    checks.check(largest * each + resident <= MEMORY_BYTES < (largest + 1) * each + resident,
                 "%s: %d is the largest batch for 1 GiB" % (name, largest))
    shape = ort_tools.session(model).get_inputs()[0].shape[1:]
    spent = subprocess.run([sys.executable, "-c", RUN, model, str(largest),
                            "x".join(map(str, shape))], capture_output=True, text=True, check=True)
    runtime = 32 << 20
    expected, found = largest * each + resident - runtime, int(spent.stdout)
    checks.check(abs(found / expected - 1) <= MEMORY_SLACK,
                 "%s: batch %d takes %.0f MiB, predicted %.0f MiB" % (
                     name, largest, found / 2**20, expected / 2**20))


def main():
    names = sys.argv[1:] or ZOO + TORCH
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        described = machine(folder, paths(names[0])[0], paths(names[0])[2])
        judge_latency(checks, "float", {n: paths(n)[0] for n in names}, described)
        judge_latency(checks, "w8a8", {n: compressed(folder, n) for n in names}, described)
        for name in [n for n in names if n in MEMORY]:
            judge_memory(checks, name, described)
    print("%d passed, %d failed" % (checks.passed, checks.failed))
    return checks.failed > 0


if __name__ == "__main__":
    sys.exit(main())
