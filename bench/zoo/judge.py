"""Holds onnxpress against ONNX Runtime, and against ONNX Runtime's quantiser, on the zoo.

    judge.py [--all] [--no-peers] [NAME ...]

For each model: the interpreter computes what ONNX Runtime computes; --precision none changes no
byte; --precision w8a8 gives a file that the checker accepts, that loads and runs, that has at least
20 dB on data that it was not calibrated on, and in which what the report calls quantised is
computed in integers; that is at least as exact as the peers' best, at most 3 % larger than their
smallest, and at least as fast as float. Prints a line per check, a table, and the count.
"""
import argparse
import math
import os
import sys

import numpy as np

import cache
import fetch
import float64
import measure
import rivals

import fusion  # noqa: E402  (measure.py put its folder on the path)
import ort_tools  # noqa: E402
from harness import (Checks, Workspace, checker_error, compress, onnxpress,  # noqa: E402
                     same_bytes)

FLOAT_ERROR = 1e-4          # relative to the output's largest value
LEAST_SQNR_DB = 20.0
LEAST_FUSED = 0.95
MOST_BYTES = 1.03           # of the peers' smallest
MOST_OF_FLOAT = 0.60        # whatever the peers do
LEAST_SPEED = 0.97          # of float; 3 % for noise
NO_RIVAL = ("silero_vad_legacy",)   # its weights are in If bodies, where no peer looks


def decibels(value):
    return "exact" if value == math.inf else f"{value:.1f} dB"


def against_double(subject, name, ours, theirs):
    """(how far ours is from double precision, how far theirs, samples) of the samples that differ
    by more than FLOAT_ERROR; both relative to the output's largest value."""
    symbol = ort_tools.batch_symbol(subject.session.get_inputs())
    output = next(v for v in subject.session.get_outputs() if v.name == name)
    axis = ort_tools.batch_axis(output, symbol) or 0
    scale, found = np.max(np.abs(theirs)), []
    for i, feed in enumerate(ort_tools.samples(subject.session, subject.arrays)):
        a, b = ours.take([i], axis), theirs.take([i], axis)
        if np.max(np.abs(a - b)) > FLOAT_ERROR * scale:
            exact = float64.run(subject.model, feed)[name].reshape(a.shape)
            found.append([np.max(np.abs(x - exact)) / scale for x in (a, b)])
    return *np.max(found, axis=0), len(found)


def check_close(checks, subject, kind, ours, theirs):
    """Within FLOAT_ERROR of ONNX Runtime; where a sample is not, within that of double precision
    and nearer to it than ONNX Runtime is: some samples of some models are conditioned so badly that
    two float programs differ by more, and ONNX Runtime from itself."""
    names = ort_tools.float_outputs(subject.session)
    errors = {n: ort_tools.largest_relative_error(theirs[n], ours[n]) for n in names}
    passed, text = True, (f"largest relative error {max(errors.values()):.2g} "
                          f"over {len(names)} outputs")
    for name in (n for n in names if errors[n] > FLOAT_ERROR):
        mine, other, count = against_double(subject, name, ours[name], theirs[name])
        passed = passed and mine <= FLOAT_ERROR and mine < other
        text += (f"; {name} from double precision, {count} sample(s) that differ: "
                 f"onnxpress {mine:.2g}, ONNX Runtime {other:.2g}")
    checks.check(f"{subject.name} run against ONNX Runtime {kind}", passed, text)


def check_run(checks, work, subject):
    """The interpreter's float outputs against ONNX Runtime's, as written and optimised."""
    saved = work.path("run.npz")
    onnxpress("run", subject.model, "--data", subject.evaluation, "--save", saved, "--force")
    plain = ort_tools.run(ort_tools.session(subject.model, optimised=False), subject.arrays)
    with np.load(saved) as file:
        ours = {name: file[name] for name in file.files}
    for kind, theirs in (("as written", plain), ("optimised", subject.reference)):
        check_close(checks, subject, kind, ours, theirs)
    for value in subject.session.get_outputs():
        if not ort_tools.is_float(value):
            checks.check(f"{subject.name} run, integer output {value.name}",
                         np.array_equal(ours[value.name], plain[value.name]))


def check_untouched(checks, work, subject):
    out, _ = compress(work, subject.model, "none")
    checks.check(f"{subject.name} none: byte-identical", same_bytes(subject.model, out))


def check_compressed(checks, work, subject):
    """The main job; its figures, or nothing when it failed."""
    out, report = compress(work, subject.model, "w8a8", subject.calibration)
    label = f"{subject.name} w8a8"
    error = checker_error(out)
    checks.check(f"{label}: the ONNX checker accepts it", error is None, error or "")
    ours = subject.figures(out)
    checks.check(f"{label}: at least {LEAST_SQNR_DB:g} dB", ours["sqnr_db"] >= LEAST_SQNR_DB,
                 ", ".join(f"{n} {decibels(v)}" for n, v in ours["outputs"].items()))
    share = ours["bytes"] / os.path.getsize(subject.model)
    checks.check(f"{label}: at most {MOST_OF_FLOAT:.0%} of the float bytes",
                 share <= MOST_OF_FLOAT, f"{share:.1%}")
    findings = fusion.judge(subject.model, out, report)
    checks.check(f"{label}: what is called quantised is computed in integers",
                 fusion.share(findings) >= LEAST_FUSED, fusion.describe(findings))
    alone = fusion.uncalled(out)
    checks.check(f"{label}: ONNX Runtime quantises nothing on its own", not alone,
                 ", ".join(alone[:4]))
    ours["speed"], ours["float_ms"] = subject.speed(out)
    checks.check(f"{label}: at least as fast as float", ours["speed"] >= LEAST_SPEED,
                 f"×{ours['speed']:.2f} of {ours['float_ms']:.2f} ms")
    return ours


def check_against_peers(checks, subject, ours, methods):
    """At least as exact as the best of theirs, and no larger than the smallest and 3 %."""
    label, usable = f"{subject.name} w8a8", rivals.usable(methods)
    if subject.name in NO_RIVAL:
        checks.check(f"{label}: no peer quantises anything", not usable)
        return
    if not checks.check(f"{label}: a peer's file runs", usable):
        return
    best = max(f["sqnr_db"] for f in usable.values())
    checks.check(f"{label}: as exact as the peers' best", ours["sqnr_db"] >= best,
                 f"{decibels(ours['sqnr_db'])} and {decibels(best)}")
    least = min(f["bytes"] for f in usable.values())
    checks.check(f"{label}: at most {MOST_BYTES:.0%} of the peers' smallest",
                 ours["bytes"] <= MOST_BYTES * least, f"{ours['bytes']} and {least} bytes")


def judge(checks, name, with_peers):
    """All checks of one model; the rows of the table that it adds."""
    subject = measure.Subject(name)
    methods = rivals.figures(subject) if with_peers else {}
    with Workspace() as work:
        checks.attempt(f"{name} run", check_run, checks, work, subject)
        checks.attempt(f"{name} none", check_untouched, checks, work, subject)
        ours = checks.attempt(f"{name} w8a8", check_compressed, checks, work, subject)
        if ours and with_peers:
            checks.attempt(f"{name} peers", check_against_peers, checks, subject, ours, methods)
    size = os.path.getsize(subject.model)
    whole = {"bytes": size, "sqnr_db": math.inf, "speed": 1.0,
             "score": measure.scores.SCORES[name](subject, subject.reference)}
    rows = [(name, "float", whole, size)]
    rows += [("", f"quantize_static {method}", f, size) for method, f in methods.items()]
    return rows + [("", "onnxpress w8a8", ours or {"error": "failed"}, size)]


def print_table(rows):
    print(f"\n{'model':<18} {'form':<26} {'bytes':>10} {'smaller':>8} {'SQNR':>9} {'score':>7} "
          f"{'speed':>6}")
    for name, form, f, size in rows:
        if "error" in f:
            print(f"{name:<18} {form:<26} {f['error'][:60]}")
            continue
        print(f"{name:<18} {form:<26} {f['bytes']:>10} {size / f['bytes']:>7.2f}× "
              f"{decibels(f['sqnr_db']):>9} {f['score']:>7.4f} {f['speed']:>5.2f}×")
    print()


def main():
    known = list(cache.zoo()["models"])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--all", action="store_true", help="every model of zoo.json")
    parser.add_argument("--no-peers", action="store_true", help="onnxpress and float only")
    args = parser.parse_args()
    for name in args.names:
        if name not in known:
            parser.error(f"no model {name}; there are {', '.join(known)}")
    checks, rows = Checks(), []
    for name in args.names or (known if args.all else fetch.DEFAULT):
        found = checks.attempt(name, judge, checks, name, not args.no_peers)
        rows += found or []
    print_table(rows)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
