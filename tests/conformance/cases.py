"""What the conformance runs share: running a case through `onnxpress run`, and the lists of cases
that do not pass."""

import concurrent.futures
import os
import pathlib
import re
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
BINARY = os.environ.get("ONNXPRESS", HERE.parent.parent / "build" / "onnxpress")
AT_ONCE = 2
SECONDS = 120
NO_OPERATOR = re.compile(r"^(\w+) .*has no operator here$")


def run_case(case, tolerances):
    """None when every data set of the case passes, else the last line that was written."""
    sets = sorted(case.glob("test_data_set_*"))
    if not sets:
        return "no test_data_set"
    for data in sets:
        command = [BINARY, "run", "-q", "--nonfinite", "keep", *tolerances,
                   case / "model.onnx", "--data", data]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"more than {SECONDS} seconds"
        if done.returncode != 0:
            lines = (done.stderr + done.stdout).strip().splitlines()
            return f"exit {done.returncode}: {lines[-1] if lines else 'no message'}"
    return None


def run_cases(cases):
    """The message of every case that does not pass; cases: name -> (folder, tolerances)."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        messages = pool.map(lambda case: run_case(*case), cases.values())
        return {name: message for name, message in zip(cases, messages) if message}


def read_missing(path, problems):
    """name -> reason of a list of cases that do not pass."""
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        name, _, reason = line.partition("\t")
        if not reason.strip() or name in listed:
            problems.append(f"{path.name}:{number}: a case and its reason, once each: {line}")
        listed[name] = reason
    if sorted(listed) != list(listed):
        problems.append(f"{path.name}: not sorted by case")
    return listed


def judge(name, cases, wrong, listed, every, problems):
    """A listed case must exist and fail, for its reason where that can be told; others pass."""
    problems += [f"{name}: no such case: {case}" for case in listed if case not in every]
    for case, message in wrong.items():
        operator = NO_OPERATOR.match(listed.get(case, ""))
        if case not in listed:
            problems.append(f"{case}: {message}")
        elif operator and f"no operator {operator[1]} " not in message:
            problems.append(f"{case}: {name} says {operator[1]} is missing, but: {message}")
    surprises = [case for case in listed if case in cases and case not in wrong]
    problems += [f"{case}: passes, but {name} lists it" for case in surprises]


def finish(passed, problems):
    """Prints what is wrong and the count; the exit status."""
    for problem in problems:
        print(problem)
    print(f"{passed} passed, {len(problems)} failed")
    return 1 if problems or not passed else 0
