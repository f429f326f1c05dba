"""calibrate.py - onnxpress calibrate as a user meets it: the same bytes at any number of threads,
under any memory limit and after any number of kills; --resume, --merge and --stats, and what they
refuse.

`stages(t)` gives the stages that tests/cli/run runs; `t` is its names: run, check, expect_error,
inside, read, words, binary, work, net, calibration.
"""
import ast
import json
import os
import random
import re
import signal
import struct
import subprocess
import zipfile

KILLS = 50
ROWS = 784  # floats of a sample


def samples_of(path):
    """The calibration images as a list of bytes objects, and how a .npy of them begins."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.startswith("input"))
        data = archive.read(name)
    length = struct.unpack("<H", data[8:10])[0]
    shape = ast.literal_eval(data[10:10 + length].decode())["shape"]
    body, size = data[10 + length:], 4 * ROWS
    assert shape[1:] == (1, 28, 28) and len(body) == shape[0] * size
    return [body[i * size:(i + 1) * size] for i in range(shape[0])]


def write_samples(path, samples):
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 1, 28, 28), }" % len(samples)
    head = head.encode() + b" " * (-(len(head) + 11) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"".join(samples))


def sections(path):
    """{(tag, item): bytes} of an artefact."""
    with open(path, "rb") as file:
        data = file.read()
    offset, count = struct.unpack("<QQ", data[-40:-24])
    rows = [struct.unpack_from("<IIQQQ", data, offset + 32 * i) for i in range(count)]
    return {(tag, item): data[at:at + n] for tag, item, at, n, _ in rows}


def doubles(data):
    return struct.unpack("<%dd" % (len(data) // 8), data)


def floats(data):
    return struct.unpack("<%df" % (len(data) // 4), data)


def far(a, b):
    """The largest difference, as a share of the largest number."""
    most = max(map(abs, a), default=0)
    return max((abs(x - y) for x, y in zip(a, b)), default=0) / (most or 1)


def stages(t):
    run, check, expect_error, inside = t.run, t.check, t.expect_error, t.inside

    def report_of(r):
        return json.loads(r.stdout) if r.returncode == 0 else {}

    def make(name, more="", data="{cal}"):
        return run("calibrate {net} --data %s -o %s --json - %s" % (data, name, more))

    def calibrate_bytes():
        r = report_of(make("whole.oxc"))
        check("calibrate says what it found", r.get("samples") == 256 and r["tensors"] > 19
              and r["weights"] == 19 and r["passes"] == 2 and not r["resumed"]
              and r["bytes"] == r["output"]["bytes"] == os.path.getsize(inside("whole.oxc")), r)
        whole = t.read(inside("whole.oxc"))
        for threads in (1, 3):
            make("other.oxc", "--force --threads %d" % threads)
            check("the same bytes on %d threads" % threads, t.read(inside("other.oxc")) == whole)
        passes = []
        for limit in ("16MB", "11MB"):
            r = report_of(make("other.oxc", "--force --max-memory " + limit))
            passes.append(r.get("passes", 0))
            check("the same bytes within " + limit, t.read(inside("other.oxc")) == whole, r)
        check("less memory takes more passes", 2 < passes[0] < passes[1], passes)
        make("other.oxc", "--force --checkpoint 0")
        check("the same bytes with checkpoints", t.read(inside("other.oxc")) == whole)
        check("no checkpoint is left", not os.path.exists(inside("other.oxc.part")))
        for kept, least, most in (("diagonal", 0, 0.6), ("none", 0, 0.5)):
            make("other.oxc", "--force --moments " + kept)
            share = os.path.getsize(inside("other.oxc")) / len(whole)
            check("moments %s take less" % kept, least < share < most, share)
        make("other.oxc", "--force --estimator none --holdout 0.25")
        r = report_of(make("other.oxc", "--force --estimator none --holdout 0.25"))
        check("samples are set aside", r.get("samples") == 192 and r["held_out"] == 64
              and r["passes"] == 1 and r["weights"] == 0, r)

    def calibrate_refuses():
        before = t.read(inside("whole.oxc"))
        expect_error("an artefact is not replaced", 7, "E-EXISTS", ["whole.oxc"],
                     "calibrate {net} --data {cal} -o whole.oxc")
        r = make("whole.oxc", "--resume")
        check("a complete one is left alone", r.returncode == 0
              and report_of(r)["was_complete"] and report_of(r)["passes"] == 0, r.stderr)
        for more, code, part in (
                ("--data {cal} --seed 3", "E-STATS-OPTION", 'option seed is "3" here and "0"'),
                ("--data {cal} --moments none", "E-STATS-OPTION", "moments"),
                ("--data {cal} --holdout 0.5", "E-STATS-OPTION", "holdout"),
                ("--data {cal} --cpu arm", "E-STATS-OPTION", "cpu"),
                ("--data {test}", "E-STATS-DATA", "other data: xxh3"),
                ("--random 256", "E-STATS-DATA", "other data: xxh3")):
            expect_error("--resume of other work: " + more, 8, code, ["whole.oxc", part],
                         "calibrate {net} -o whole.oxc --resume -q " + more)
        with open(inside("whole.bin"), "wb") as file:
            file.write(b"something else")
        expect_error("--resume of another file", 3, "E-OXC-MAGIC", ["whole.bin"],
                     "calibrate {net} --data {cal} -o whole.bin --resume -q")
        expect_error("the data is never replaced", 7, "E-EXISTS", ["input"],
                     "calibrate {net} --data {cal} -o {cal} --force -q")
        check("and the data is there", os.path.getsize(t.calibration) > 0)
        check("nothing was written to it", t.read(inside("whole.oxc")) == before)
        for more, part in (("", "-o OUT.oxc"), ("-o x.oxc", "--data"),
                           ("-o x.oxc --data {cal} --holdout 1", "--holdout"),
                           ("-o x.oxc --data {cal} more", "one argument too many"),
                           ("-o x.oxc --merge", "at least two")):
            expect_error("calibrate " + more, 2, "E-USAGE", [part], "calibrate {net} " + more)

    def calibrate_merge():
        samples = samples_of(t.calibration)
        for name, some in (("a", samples[:100]), ("b", samples[100:180]), ("c", samples[180:]),
                           ("all", samples), ("lap", samples[95:])):
            write_samples(inside(name + ".npy"), some)
            make(name + ".oxc", data=name + ".npy")
        before = {name: t.read(inside(name + ".oxc")) for name in "abc"}
        r = run("calibrate --merge a.oxc b.oxc c.oxc -o merged.oxc --json -")
        check("three parts merge", r.returncode == 0 and json.loads(r.stdout)["samples"] == 256
              and json.loads(r.stdout)["parts"] == 3, r.stderr)
        one, parts = sections(inside("all.oxc")), sections(inside("merged.oxc"))
        check("the same sections", one.keys() == parts.keys())
        for tag, name in ((2, "samples"), (7, "histograms"), (8, "ranges by sample"),
                          (12, "powers"), (13, "squared gradients")):
            items = [k for k in one if k[0] == tag]
            check("%s merge to the same bytes" % name,
                  items and all(one[k] == parts[k] for k in items))
        sums = [k for k in one if k[0] == 9]
        worst = max(far(doubles(one[k][8:]), doubles(parts[k][8:])) for k in sums)
        check("sums merge to 1e-12", worst < 1e-12
              and all(one[k][:8] == parts[k][:8] for k in sums), worst)
        worst = max(far(floats(one[k]), floats(parts[k])) for k in one if k[0] == 10)
        check("moments merge to float's rounding", worst < 2.5e-7, worst)
        expect_error("overlapping samples", 8, "E-STATS-OVERLAP", ["5 samples in common"],
                     "calibrate --merge a.oxc lap.oxc -o x.oxc -q")
        expect_error("an artefact and itself", 8, "E-STATS-OVERLAP", ["100 samples"],
                     "calibrate --merge a.oxc a.oxc -o x.oxc -q")
        make("none.oxc", "--moments none", data="b.npy")
        expect_error("other options", 8, "E-STATS-OPTION", ["moments"],
                     "calibrate --merge a.oxc none.oxc -o x.oxc -q")
        expect_error("a part is never the output", 7, "E-EXISTS", ["a.oxc"],
                     "calibrate --merge a.oxc b.oxc -o a.oxc --force -q")
        check("the parts are as they were",
              before == {name: t.read(inside(name + ".oxc")) for name in "abc"})
        check("nothing was left", not os.path.exists(inside("x.oxc")))
        same = run("sensitivity {net} --data {cal} --stats merged.oxc")
        check("the merged one serves the data of its parts together", same.returncode == 0
              and same.stdout == run("sensitivity {net} --data {cal}").stdout, same.stderr)

    def calibrate_stats():
        traces = {w["name"]: w["fisher_trace"] for w in json.loads(
            run("sensitivity {net} --data {cal} --json -").stdout)["weights"]}
        r = json.loads(run("sensitivity {net} --stats whole.oxc --json -").stdout)
        check("traces without samples are those with them", len(r["weights"]) == 19 and all(
            w["fisher_trace"] == traces[w["name"]] for w in r["weights"]), r["weights"][:1])
        check("and losses are absent", not any(
            "predicted_loss" in c for w in r["weights"] for c in w["candidates"]))
        text = run("sensitivity {net} --stats whole.oxc").stdout
        check("no number is made up", "tr F" in text and "nan" not in text, text)
        for more, code, part in (("--estimator sampled", "E-STATS-OPTION", "estimator"),
                                 ("--seed 1", "E-STATS-OPTION", "seed"),
                                 ("--measure", "E-STATS-NEEDS-DATA", "--data"),
                                 ("--data {test}", "E-STATS-DATA", "0 are in both")):
            expect_error("--stats with " + more, 8, code, [part],
                         "sensitivity {net} --stats whole.oxc " + more)
        make("held.oxc", "--holdout 0.25")
        plain = "compress {net} --precision w8a8 --data {cal} --json - -o "
        run(plain + "without.onnx")
        r = report_of(run(plain + "with.onnx --stats held.oxc"))
        check("compress takes ranges from it", r.get("data", {}).get("stats", {}).get("gave_ranges")
              and r["data"]["in_sample"] is False, r.get("data"))
        check("and makes the same model",
              t.read(inside("with.onnx")) == t.read(inside("without.onnx")))
        r = report_of(run(plain + "seen.onnx --stats whole.oxc"))
        check("what was not set aside is called in-sample", r["data"]["in_sample"], r["data"])
        expect_error("statistics for another machine", 8, "E-STATS-OPTION", ["cpu"],
                     "compress {net} --precision w8a8 --data {cal} --stats held.oxc --cpu arm "
                     "-o x.onnx")
        expect_error("statistics are never replaced", 7, "E-EXISTS", ["input"],
                     "compress {net} --precision w8a8 --data {cal} --stats held.oxc -o held.oxc "
                     "--force")

    def killed(line, seconds):
        """Whether it was killed before it ended."""
        with subprocess.Popen([t.binary, *t.words(line)], cwd=t.work, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            try:
                p.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                p.send_signal(signal.SIGKILL)
                p.communicate()
        return p.returncode == -signal.SIGKILL, p.returncode

    def calibrate_kills():
        write_samples(inside("many.npy"), samples_of(t.calibration)[:200])
        line = "calibrate {net} --data many.npy -o kill.oxc --checkpoint 0 --threads 2 -q "
        run(line)
        whole = t.read(inside("kill.oxc"))
        os.remove(inside("kill.oxc"))
        draw, kills, ended, steps = random.Random(11), 0, 0, set()
        faults = []
        while kills < KILLS:
            dead, status = killed(line + "--resume", draw.uniform(0.01, 0.5))
            kills += dead
            if os.path.exists(inside("kill.oxc")):
                ended += 1
                if t.read(inside("kill.oxc")) != whole:
                    faults.append("other bytes after %d kills" % kills)
                os.remove(inside("kill.oxc"))
            elif not dead:
                faults.append("exit %d" % status)
            if os.path.exists(inside("kill.oxc.part")):
                state = sections(inside("kill.oxc.part"))[6, 0]
                steps.add(state)
            if len(faults) > 3:
                break
        r = run(line.replace("-q", "--json -") + "--resume")
        check("after %d kills the bytes of an uninterrupted run" % kills,
              not faults and r.returncode == 0 and t.read(inside("kill.oxc")) == whole,
              (faults, r.stderr))
        check("the kills met different moments", len(steps) >= 5, (len(steps), ended))
        check("no checkpoint is left", not os.path.exists(inside("kill.oxc.part")))
        names = [n for n in os.listdir(t.work) if "kill.oxc" in n and n != "kill.oxc"]
        check("what a kill leaves behind is a temporary file by its name",
              all(re.search(r"\.tmp-\d+-\d+$", n) for n in names), names)
        for name in names:
            os.remove(inside(name))

    def calibrate_resumes():
        line = "calibrate {net} --data many.npy -o go.oxc --checkpoint 0 --threads 2 -q "
        whole = t.read(inside("kill.oxc"))
        for seconds in (0.2, 0.3, 0.4, 0.5, 0.7, 1.0):
            dead, _ = killed(line + "--resume", seconds)
            if dead and os.path.exists(inside("go.oxc.part")):
                break
            if os.path.exists(inside("go.oxc")):
                os.remove(inside("go.oxc"))
        part = t.read(inside("go.oxc.part"))
        expect_error("an interrupted calibration is not overwritten", 7, "E-EXISTS",
                     ["--resume", "go.oxc.part"], "calibrate {net} --data many.npy -o go.oxc -q")
        expect_error("nor continued as other work", 8, "E-STATS-OPTION", ["seed"],
                     line + "--resume --seed 9")
        check("the checkpoint is as it was", t.read(inside("go.oxc.part")) == part)
        expect_error("nor read as an artefact", 3, "E-OXC-KIND", ["go.oxc.part"],
                     "sensitivity {net} --stats go.oxc.part")
        r = run("calibrate {net} --data many.npy -o go.oxc --resume --json - --max-memory 14MB")
        check("it goes on under another limit, on other threads", r.returncode == 0
              and json.loads(r.stdout)["resumed"]
              and t.read(inside("go.oxc")) == whole, r.stderr)
        with open(inside("go.oxc.part"), "wb") as file:
            file.write(part[:len(part) // 2])
        os.remove(inside("go.oxc"))
        expect_error("a checkpoint that is cut short", 3, "E-OXC-LENGTH", ["go.oxc.part"],
                     line + "--resume")
        r = run(line + "--force")
        check("--force begins anew", r.returncode == 0 and t.read(inside("go.oxc")) == whole
              and not os.path.exists(inside("go.oxc.part")), r.stderr)

    return [calibrate_bytes, calibrate_refuses, calibrate_merge, calibrate_stats, calibrate_kills,
            calibrate_resumes]
