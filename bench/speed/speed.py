"""Throughput, compression time and memory beside ONNX Runtime.

forward   samples per second of the float model, batch 1, one and two threads. onnxpress uses
          its threads for samples side by side, ONNX Runtime inside a sample or, as two sessions of
          one thread each, side by side too: its better way counts. Turns alternate; the figure is
          the least of the medians of the ratios of neighbouring turns, above 1 where onnxpress is
          faster.
compress  wall time of `onnxpress compress --precision w8a8` (loading to verifying) and of
          quantize_static with each of its calibration methods (the call alone), in turns.
          Everything runs on two processors, whatever the machine has.
memory    the greatest resident set of either process, from the kernel's own account of it.
"""
import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "zoo"))
import cache    # noqa: E402
import common   # noqa: E402
import pictures  # noqa: E402

ONNXPRESS, FORWARD = os.environ["ONNXPRESS"], os.environ["FORWARD"]
MODELS = ("resnet50", "mobilenet_v2")
SIDE, SAMPLES, MANY = 224, 64, 512
LEAST_FORWARD = 0.8           # of ONNX Runtime's throughput
MOST_OF_MINMAX = 1.0          # of quantize_static's time
MOST_OF_HISTOGRAMS = 0.2
MOST_MEGABYTES = 400
MOST_GROWTH = 1.02            # of peak memory from 64 to 512 samples: the heap's own noise
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def model_path(name):
    return cache.place("torch", name + ".onnx")


def samples(count):
    """(.npz, .npy) of crops of the zoo's photos, normalised as ImageNet's are; made once."""
    npz = cache.place("speed", f"pictures_{count}.npz")
    npy = npz[:-1] + "y"
    if not (os.path.exists(npz) and os.path.exists(npy)):
        x = np.empty((count, 3, SIDE, SIDE), np.float32)
        for i in range(count):
            r = common.rng("speed", i)
            photo = pictures.pick_photo(r, common.CALIBRATION, 0.3)
            x[i] = ((pictures.crop(r, photo, SIDE, 0.3) / 255 - MEAN) / STD).transpose(2, 0, 1)
        np.save(npy, x)
        np.savez(npz, input=x)
    return npz, npy


class Report:
    def __init__(self):
        self.passed, self.failed, self.figures = 0, 0, {}

    def check(self, name, value, limit, at_least, text):
        good = value >= limit if at_least else value <= limit
        self.passed += good
        self.failed += not good
        sign = ">=" if at_least else "<="
        print(f"{'PASS' if good else 'FAIL'} {name}: {value:.3g} ({sign} {limit:g}); {text}",
              flush=True)
        self.figures[name] = {"value": value, "limit": limit, "at_least": at_least, "pass": good}


# ---- forward ----

class Forward:
    """The interpreter in a process of its own, waiting for its turns."""

    def __init__(self, name, data, threads):
        self.process = subprocess.Popen([FORWARD, model_path(name), data, str(threads)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def seconds(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Theirs:
    def __init__(self, name, rows, threads):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        self.rows = rows
        self.session = ort.InferenceSession(model_path(name), options,
                                            providers=["CPUExecutionProvider"])

    def seconds(self, count):
        start = time.perf_counter()
        for i in range(count):
            self.session.run(None, {"input": self.rows[i:i + 1]})
        return time.perf_counter() - start


class SideBySide:
    """A session of one thread for each thread; run() leaves Python's lock alone meanwhile."""

    def __init__(self, name, rows, threads):
        self.sessions = [Theirs(name, rows, 1) for _ in range(threads)]
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)

    def seconds(self, count):
        start = time.perf_counter()
        share = count // len(self.sessions)
        list(self.pool.map(lambda session: session.seconds(share), self.sessions))
        return time.perf_counter() - start


def forward(report, name, threads, turns):
    npz, npy = samples(SAMPLES)
    rows = np.load(npy)
    sides = [Forward(name, npz, threads), Theirs(name, rows, threads)]
    if threads > 1:
        sides.append(SideBySide(name, rows, threads))
    count = 16 if name == "resnet50" else SAMPLES
    for side in sides * 2:
        side.seconds(count)
    spent = []
    for turn in range(turns):
        order = sides if turn % 2 == 0 else sides[::-1]
        took = {side: side.seconds(count) / count for side in order}
        spent.append([took[side] for side in sides])
    sides[0].close()
    ratio = min(statistics.median(turn[k] / turn[0] for turn in spent)
                for k in range(1, len(sides)))
    each = [f"{1000 * statistics.median(column):.2f}" for column in zip(*spent)]
    report.check(f"forward {name}, {threads} thread{'s' if threads > 1 else ''}", ratio,
                 LEAST_FORWARD, True,
                 f"onnxpress {each[0]} ms a sample, ONNX Runtime {' or '.join(each[1:])} ms")


# ---- compress ----

# A process's greatest resident set begins with that of the one it was forked from: a small one.
LAUNCH = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
sys.stdout.write(process.stdout.read().decode())
_, status, usage = os.wait4(process.pid, 0)
print()
print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss / 1024)
"""


def measured(command):
    """(stdout, wall seconds, MB of the greatest resident set) of a process."""
    text = subprocess.run([sys.executable, "-c", LAUNCH, *command], stdout=subprocess.PIPE,
                          check=True, text=True).stdout
    text, _, last = text.rstrip("\n").rpartition("\n")
    status, seconds, megabytes = last.split()
    if int(status):
        raise SystemExit(f"{' '.join(command[:2])} failed with {status}")
    return text.rstrip("\n"), float(seconds), float(megabytes)


def compress(count, folder):
    out = os.path.join(folder, "onnxpress.onnx")
    _, seconds, megabytes = measured(
        [ONNXPRESS, "compress", model_path("resnet50"), "-o", out, "--precision", "w8a8", "--data",
         samples(count)[0], "--threads", "2", "--force", "-q"])
    return seconds, megabytes


def quantise(count, folder, method):
    out = os.path.join(folder, method + ".onnx")
    text, _, megabytes = measured(
        [sys.executable, os.path.join(HERE, "quantise.py"), model_path("resnet50"),
         samples(count)[1], str(count), out, method])
    return float(text.split()[-1]), megabytes


def compression(report, turns):
    limits = {"MinMax": MOST_OF_MINMAX, "Entropy": MOST_OF_HISTOGRAMS,
              "Percentile": MOST_OF_HISTOGRAMS}
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for method, limit in limits.items():
            ratios, ours, theirs = [], [], []
            for _ in range(turns if method == "MinMax" else 1):
                seconds, peaks["onnxpress"] = compress(SAMPLES, folder)
                other, peaks[method] = quantise(SAMPLES, folder, method)
                ours.append(seconds)
                theirs.append(other)
                ratios.append(seconds / other)
            report.check(f"compress resnet50, {SAMPLES} samples, time of {method}",
                         statistics.median(ratios), limit, False,
                         f"onnxpress {statistics.median(ours):.1f} s, "
                         f"quantize_static {statistics.median(theirs):.1f} s")
    report.figures["peak_mb_of_quantize_static"] = peaks
    print("     peak memory: " + ", ".join(f"{k} {v:.0f} MB" for k, v in peaks.items()))


def memory(report):
    with tempfile.TemporaryDirectory() as folder:
        _, few = compress(SAMPLES, folder)
        _, many = compress(MANY, folder)
    report.check(f"peak MB of compress resnet50, {SAMPLES} samples", few, MOST_MEGABYTES, False,
                 "resident set")
    report.check(f"peak MB with {MANY} samples over that with {SAMPLES}", many / few, MOST_GROWTH,
                 False, f"{many:.0f} MB and {few:.0f} MB")


PARTS = ["forward", "compress", "memory"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="forward|compress|memory")
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    args = parser.parse_args()
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"no part {part}; there are {', '.join(PARTS)}")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])    # and all that is started here
    parts = args.parts or PARTS
    report = Report()
    if "forward" in parts:
        for name in MODELS:
            for threads in (1, 2):
                forward(report, name, threads, 7 if args.quick else 31)
    if "compress" in parts:
        compression(report, 1 if args.quick else 3)
    if "memory" in parts:
        memory(report)
    os.makedirs("build", exist_ok=True)
    with open(os.path.join("build", "speed.json"), "w", encoding="utf-8") as f:
        json.dump(report.figures, f, indent=2)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(report.failed > 0)


if __name__ == "__main__":
    main()
