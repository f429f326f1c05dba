"""Holds onnxpress against ONNX Runtime on small modules exported from PyTorch (torch_modules.py).

    torch_spellings.py [-q] [NAME...]       NAME: a module, or a module and its opset (gelu_13)

Each file is run and compressed in every precision; what comes out loads and runs. Outputs of floats
are compared with the largest value of the output, others must be equal. -q prints failures only.
"""
import fnmatch
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper

import cache

sys.path.insert(0, cache.ORACLE)
import ort_tools  # noqa: E402
from harness import Checks, Failed, Workspace, compress, onnxpress  # noqa: E402
from torch_judge import dequantised_weights  # noqa: E402
import fusion  # noqa: E402

FLOAT_ERROR = 1e-4
LEAST_DB = {"w8": 25.0, "fp16": 45.0, "dynamic": 15.0, "w8a8": 15.0, "integers": 12.0}
ARGUMENTS = {"integers": ("w8a8", "--quant-format", "qdq", "--min-sqnr", "0")}
LARGE = 1024                # elements from which on a constant must not stay float


class Quiet(Checks):
    """Prints failures only."""

    def check(self, name, good, detail=""):
        if not good:
            return super().check(name, good, detail)
        self.passed += 1
        return True


def folder():
    return os.path.dirname(cache.place("torch", "modules", "x"))


def stems(patterns):
    found = sorted(f[:-5] for f in os.listdir(folder()) if f.endswith(".onnx"))
    if not patterns:
        return found
    return [s for s in found if any(fnmatch.fnmatch(s, p) or fnmatch.fnmatch(s, p + "_[0-9]*")
                                    for p in patterns)]


def write_set(work, feed):
    """One sample as a folder of TensorProto files: shapes as they are."""
    place = work.path("samples")
    os.makedirs(place, exist_ok=True)
    for k, (name, array) in enumerate(feed.items()):
        with open(os.path.join(place, f"input_{k}.pb"), "wb") as f:
            f.write(numpy_helper.from_array(array, name).SerializeToString())
    return place


def difference(theirs, ours):
    """Largest difference over the largest value; equal or not for what holds no floats."""
    if theirs.dtype.kind != "f":
        return 0.0 if np.array_equal(theirs, ours) else np.inf
    if theirs.size == 0 or not np.array_equal(np.isfinite(theirs), np.isfinite(ours)):
        return 0.0 if theirs.shape == ours.shape and not theirs.size else np.inf
    good = np.isfinite(theirs)
    return ort_tools.largest_relative_error(theirs[good], ours[good])


def check_run(checks, work, label, path, data, reference):
    saved = work.path("run.npz")
    onnxpress("run", path, "--data", data, "--save", saved, "--force")
    with np.load(saved) as ours:
        arrays = {name: ours[name] for name in ours.files}
    errors = {n: difference(v, arrays[n].reshape(v.shape)) for n, v in reference.items()}
    worst = max(errors, key=errors.get)
    checks.check(f"{label} run", errors[worst] <= FLOAT_ERROR, f"{worst} {errors[worst]:.2g}")


def check_form(checks, work, label, path, data, precision, feed, reference):
    wanted, *more = ARGUMENTS.get(precision, (precision,))
    out, _ = compress(work, path, wanted, data, *more)
    session = ort_tools.session(out)
    outputs = dict(zip(reference, session.run(list(reference), feed)))
    least = min((ort_tools.sqnr_db(v, outputs[n]) for n, v in reference.items()
                 if v.dtype.kind == "f" and np.isfinite(v).all() and v.size), default=np.inf)
    checks.check(f"{label} {precision}", least >= LEAST_DB[precision], f"{least:.1f} dB")
    found = dequantised_weights(fusion.optimised(out))
    if found:
        checks.check(f"{label} {precision}: DequantizeLinear on weights", False, str(found))
    found = large_floats(out) if precision == "w8" else []
    if found:
        checks.check(f"{label} {precision}: large weights left float", False, ", ".join(found))


def large_floats(path):
    """Names and shapes of the float constants with two dimensions or more that a file stores."""
    model = onnx.load(path)
    tensors = [t for g in fusion.graphs(model.graph) for t in g.initializer]
    tensors += [a.t for n in fusion.all_nodes(model) if n.op_type == "Constant"
                for a in n.attribute if a.name == "value"]
    return [f"{t.name}{list(t.dims)}" for t in tensors
            if t.data_type == onnx.TensorProto.FLOAT and len([d for d in t.dims if d > 1]) >= 2
            and np.prod(t.dims) >= LARGE]


def judge(checks, stem):
    path = os.path.join(folder(), stem + ".onnx")
    with np.load(path[:-5] + ".npz") as file:
        arrays = {key: file[key] for key in file.files}
    try:
        session = ort_tools.session(path)
        feed = {v.name: arrays[v.name] for v in session.get_inputs()}
        names = [v.name for v in session.get_outputs()]
        reference = dict(zip(names, session.run(names, feed)))
    except Exception as error:
        print(f"---- {stem}: ONNX Runtime does not run it: {' '.join(str(error).split())[:120]}")
        return
    with Workspace() as work:
        data = write_set(work, feed)
        checks.attempt(f"{stem} run", check_run, checks, work, stem, path, data, reference)
        for precision in LEAST_DB:
            checks.attempt(f"{stem} {precision}", check_form, checks, work, stem, path, data,
                           precision, feed, reference)


def main():
    words = [w for w in sys.argv[1:] if w != "-q"]
    checks = Quiet() if "-q" in sys.argv[1:] else Checks()
    found = stems(words)
    if not found:
        raise SystemExit(f"torch_spellings.py: nothing called {' '.join(words)} in {folder()}")
    for stem in found:
        checks.attempt(stem, judge, checks, stem)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
