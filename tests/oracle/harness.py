"""What every check against the oracle shares: the count, the onnxpress command, its files."""
import json
import os
import subprocess
import tempfile
import traceback

import onnx
import xxhash

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMAND = os.path.abspath(os.environ.get("ONNXPRESS") or os.path.join(ROOT, "build", "onnxpress"))


class Checks:
    """Counts checks and prints one line for each; a failed one never stops those that follow."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, detail=""):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'} {name}{': ' if detail else ''}{detail}", flush=True)
        return bool(good)

    def attempt(self, name, function, *arguments):
        """Runs a group of checks; what it raises is one more failed check. None when it raised."""
        try:
            return function(*arguments)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = " ".join(str(error).split())[:300]
            self.check(name, False, f"{type(error).__name__}: {what} ({place.name}:{place.lineno})")
            return None

    def finish(self):
        """Prints the count as the last line; the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1


class Failed(Exception):
    """onnxpress ended with another exit status than the one asked for."""


def onnxpress(*arguments, exits=(0,), timeout=900):
    """Runs the command; returns what it printed on stdout."""
    done = subprocess.run([COMMAND, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout)
    if done.returncode not in exits:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise Failed(f"{' '.join(map(str, arguments[:2]))} … exit {done.returncode}: {last}")
    return done.stdout


class Workspace:
    """A folder for one model's files; removed when the block ends."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.folder.name, name)


def compress(work, model, precision, data=None, *more):
    """(path of the compressed model, report) of one run of the main job."""
    out, report = work.path(precision + ".onnx"), work.path(precision + ".json")
    arguments = ["--data", data] if data else []
    onnxpress("compress", model, "-o", out, "--precision", precision, "--json", report, "--force",
              *arguments, *more)
    with open(report, encoding="utf-8") as f:
        return out, json.load(f)


def compare(work, a, b, data):
    report = work.path("compare.json")
    onnxpress("compare", a, b, "--data", data, "--json", report)
    with open(report, encoding="utf-8") as f:
        return json.load(f)


def file_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def same_bytes(a, b):
    return file_bytes(a) == file_bytes(b)


def xxh3(path):
    return xxhash.xxh3_64_hexdigest(file_bytes(path))


def checker_error(path):
    """None, or what the ONNX checker (with shape inference) says against the file."""
    try:
        onnx.checker.check_model(path, full_check=True)
        return None
    except Exception as error:
        return " ".join(str(error).split())[:300]


def outputs_by_name(report):
    return {output["name"]: output for output in report["outputs"]}
