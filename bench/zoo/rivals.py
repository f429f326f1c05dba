"""The peers' figures for each model of the zoo, made once and kept in the cache.

`figures(subject)` gives, for each of quantize_static's three calibrations, what measure.py finds in
the file that peers.py made, or why there is no such file. They are measured anew when the model,
the data, the tools' versions or peers.py change. A file with nothing quantised in it is no rival.
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import onnx

import cache
import fetch
import measure
import peers

import fusion  # noqa: E402  (measure.py put its folder on the path)

MOST_MEMORY = 14 << 30      # address space of a peer's process; it fails where it wants more


def made_from(name):
    parts = [cache.sha256(cache.model_path(name)), fetch.source_digest(name)]
    parts += [cache.sha256(os.path.join(cache.HERE, p)) for p in ("peers.py", "measure.py")]
    return " ".join(parts + [cache.sha256(cache.REQUIREMENTS)])


def quantised_nodes(path):
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return sum(node.op_type in kinds for node in fusion.all_nodes(onnx.load(path)))


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def one_file(subject, method):
    """Makes and measures one peer's file."""
    out = cache.place("peers", f"{subject.name}_{method}.onnx")
    command = [sys.executable, os.path.join(cache.HERE, "peers.py"), subject.model,
               subject.calibration, out, method]
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:       # shape inference leaves files where it runs
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True,
                              preexec_fn=limit_memory)
    made = {"seconds": round(time.time() - start, 1)}
    if done.returncode != 0:
        return made | {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    if quantised_nodes(out) == 0:
        return made | {"error": "nothing is quantised in its file"}
    try:
        made |= subject.figures(out)
        made["speed"] = subject.speed(out)[0]
    except Exception as error:
        made["error"] = f"its file does not run: {' '.join(str(error).split())[:200]}"
    return made


def figures(subject):
    """{method: figures}, from the cache where they are up to date."""
    kept, digest = cache.place("peers", subject.name + ".json"), made_from(subject.name)
    if os.path.exists(kept):
        with open(kept, encoding="utf-8") as f:
            stored = json.load(f)
        if stored["made_from"] == digest:
            return stored["methods"]
    methods = {}
    for method in peers.METHODS:
        cache.say(f"measuring quantize_static {method} on {subject.name}")
        methods[method] = one_file(subject, method)
    text = json.dumps({"made_from": digest, "methods": methods}, indent=1)
    cache.write_atomically(kept, text.encode())
    return methods


def usable(methods):
    return {method: f for method, f in methods.items() if "error" not in f}


def main():
    for name in sys.argv[1:]:
        fetch.ensure_data(name)
        print(name, json.dumps(figures(measure.Subject(name)), indent=1))


if __name__ == "__main__":
    main()
