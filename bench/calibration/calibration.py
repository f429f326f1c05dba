"""Processor seconds of calibration, on one processor.

    calibration.py NAME...

fisher      a sample in `calibrate --moments none` (ranges and gradients) over a sample in `run`: at
            most 4. Both as the slope between a few and many samples, so that loading and preparing
            do not count.
percentile  `compress --precision w8a8` with that method, everything from loading to verifying,
entropy     beside ONNX Runtime's calibrator (collect_data and compute_data alone) on the same
            samples: at least 10 times faster.

Processor time, not wall time: what else runs on the machine then counts for neither side.
"""
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnxruntime import quantization
from onnxruntime.quantization import calibrate

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "zoo"))
import cache    # noqa: E402

ONNXPRESS = os.environ["ONNXPRESS"]
FEW, MANY, TURNS = 16, 64, 3
MOST_OF_FORWARD, LEAST_OF_PEER = 4, 10
PEERS = {"percentile": quantization.CalibrationMethod.Percentile,
         "entropy": quantization.CalibrationMethod.Entropy}


def ours(*arguments):
    """Processor seconds of a call of ours."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([ONNXPRESS, *arguments, "--threads", "1", "-q"], check=True,
                   stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def first(arrays, count):
    return {k: v[:count] if v.shape and v.shape[0] >= MANY else v for k, v in arrays.items()}


def a_sample(files, model, *arguments):
    """Seconds that one more sample takes: the median over turns."""
    slopes = []
    for _ in range(TURNS):
        few, many = (ours(arguments[0], model, "--data", files[n], *arguments[1:])
                     for n in (FEW, MANY))
        slopes.append((many - few) / (MANY - FEW))
    return statistics.median(slopes)


class Reader(quantization.CalibrationDataReader):
    def __init__(self, arrays, names, batched):
        self.feeds = iter([{k: arrays[k][i:i + 1] if k in batched else arrays[k] for k in names}
                           for i in range(MANY)])

    def get_next(self):
        return next(self.feeds, None)


def peer(work, model, arrays, method):
    with contextlib.redirect_stdout(sys.stderr):
        return run_peer(work, model, arrays, method)


def run_peer(work, model, arrays, method):
    calibrator = calibrate.create_calibrator(
        model, calibrate_method=PEERS[method], augmented_model_path=os.path.join(work, "peer.onnx"))
    names = [v.name for v in calibrator.infer_session.get_inputs()]
    batched = {k for k in names if arrays[k].shape and arrays[k].shape[0] >= MANY}
    start = time.process_time()
    calibrator.collect_data(Reader(arrays, names, batched))
    calibrator.compute_data()
    return time.process_time() - start


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, good, text):
        self.passed += good
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'} {text}", flush=True)


def judge(report, work, name):
    model = cache.model_path(name)
    with np.load(cache.data_path(name, "calibration")) as f:
        arrays = {k: f[k] for k in f.files}
    files = {n: os.path.join(work, f"{name}_{n}.npz") for n in (FEW, MANY)}
    for n, path in files.items():
        np.savez(path, **first(arrays, n))
    forward = a_sample(files, model, "run")
    fisher = a_sample(files, model, "calibrate", "--moments", "none", "-o",
                      os.path.join(work, "out.oxc"), "--force")
    report.check(fisher <= MOST_OF_FORWARD * forward,
                 f"{name} with gradients: {fisher / forward:.2f} times forward (at most "
                 f"{MOST_OF_FORWARD}); {1000 * fisher:.2f} and {1000 * forward:.2f} ms a sample")
    for method in PEERS:
        seconds = ours("compress", model, "-o", os.path.join(work, "out.onnx"), "--force",
                       "--precision", "w8a8", "--calibration-method", method, "--data", files[MANY])
        theirs = peer(work, model, arrays, method)
        report.check(theirs >= LEAST_OF_PEER * seconds,
                     f"{name} {method}: {theirs / seconds:.1f} times faster (at least "
                     f"{LEAST_OF_PEER}); {seconds:.2f} s, ONNX Runtime's calibrator {theirs:.2f} s")


def main():
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    report = Report()
    with tempfile.TemporaryDirectory() as work:
        for name in sys.argv[1:]:
            judge(report, work, name)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(report.failed > 0)


if __name__ == "__main__":
    main()
