"""Weight gradients of a whole model against PyTorch's automatic differentiation in float64.

    torch_gradients.py NAME GRAPH.json GRAPH.npz OURS.npz

GRAPH is what describe.py wrote, OURS what weights.c wrote: samples, and dL/dW of
L = sum r(k) y[k] of each. For every constant that either side has, |dW - dW'| / |dW'| of the sums
over samples must be at most 1e-3 (Euclidean norms; dW' is PyTorch's). A gradient that PyTorch finds
to be zero must be zero to 1e-6 of the largest.

Where an operator has a kink (Relu at 0) and its input comes so close to it that float's rounding
decides the side, two right gradients differ. Samples in which float64 sees an input within 1e-6 of
a kink, relative to the tensor's mean size, are left out and counted; two must stay. Prints `PASS
...` or `FAIL ...`; exit 1 on failure.
"""
import json
import sys

import numpy as np
import torch

from operators import OPERATORS, kink_distance

MOST = 1e-3
NOTHING = 1e-6
KINK = 1e-6
LEAST_SAMPLES = 2


class Graph:
    """Runs a described graph; constants are leaves that gather gradients."""

    def __init__(self, description, arrays, outer=None):
        self.description, self.arrays, self.outer = description, arrays, outer or {}
        self.leaves = {}
        self.constants = {}
        self.kink = np.inf          # the least distance of an input to a kink
        for name, key in description["tensors"].items():
            self.constants[name] = self.leaf(name, arrays[key])

    def leaf(self, name, array):
        value = tensor_of(array)
        if array.dtype == np.float32 and value.numel() > 1:
            value.requires_grad_(True)
            self.leaves[name] = value
        return value

    def run(self, inputs):
        values = {**self.outer, **self.constants, **dict(zip(self.description["inputs"], inputs))}
        for node in self.description["nodes"]:
            results = self.run_node(node, values)
            values.update(zip(node["outputs"], results))
        return [values[name] for name in self.description["outputs"]]

    def run_node(self, node, values):
        inputs = [values[name] if name else None for name in node["inputs"]]
        if node["op"] == "If":
            which = "then_branch" if bool(inputs[0]) else "else_branch"
            body = Graph(node["attributes"][which], self.arrays, values)
            results = body.run([])
            self.leaves.update(body.leaves)
            self.kink = min(self.kink, body.kink)
            return results
        attributes = {k: tensor_of(self.arrays[v["tensor"]]) if isinstance(v, dict) else v
                      for k, v in node["attributes"].items()}
        self.kink = min(self.kink, kink_distance(node["op"], inputs, attributes))
        results = OPERATORS[node["op"]](inputs, attributes)
        return results if isinstance(results, tuple) else (results,)


def tensor_of(array):
    value = torch.from_numpy(np.array(array))
    return value.to(torch.float64) if value.is_floating_point() else value


def draw(count, output):
    """r(k) of weights.c."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(2654435761)
    h = h + np.uint32(output * 40503)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(2246822519)
    h ^= h >> np.uint32(13)
    return torch.from_numpy((h.astype(np.float64) / 2**31 - 1).astype(np.float32).astype(float))


def loss(outputs):
    return sum((y.reshape(-1) * draw(y.numel(), i)).sum() for i, y in enumerate(outputs)
               if y.is_floating_point())


def gradients(description, arrays, samples):
    """({constant: sum of dL/dW}, indices of the samples that are in it)."""
    found, smooth = {}, []
    for index, sample in enumerate(samples):
        graph = Graph(description, arrays)
        loss(graph.run([tensor_of(sample[name]) for name in description["inputs"]])).backward()
        if graph.kink < KINK:
            continue
        smooth.append(index)
        for name, leaf in graph.leaves.items():
            if leaf.grad is not None:
                found[name] = found.get(name, 0) + leaf.grad.numpy()
    return found, smooth


def read_ours(path):
    """(gradients, inputs) by sample, then by name."""
    read = {"d": {}, "x": {}}
    with np.load(path) as f:
        for key in f.files:
            part, index, name = key.split("/", 2)
            read[part].setdefault(int(index), {})[name] = f[key]
    return tuple([kept[i] for i in sorted(kept)] for kept in read.values())


def total(ours, which):
    found = {}
    for index in which:
        for name, g in ours[index].items():
            found[name] = found.get(name, 0) + g.astype(np.float64)
    return found


def compare(ours, theirs):
    """(worst relative error, its weight, weights compared, what is missing)."""
    if not theirs:
        return np.inf, "no sample", 0, []
    norms = {name: float(np.linalg.norm(g)) for name, g in theirs.items()}
    least = NOTHING * max(norms.values())
    worst, where, compared = 0.0, "", 0
    missing = sorted(name for name in theirs if name not in ours and norms[name] > least)
    missing += sorted(name for name in ours
                      if name not in theirs and np.abs(ours[name]).max() > least)
    for name, g in theirs.items():
        if name not in ours:
            continue
        error = float(np.linalg.norm(ours[name].reshape(g.shape) - g))
        if norms[name] <= least:
            error = 0.0 if error <= least else np.inf
        else:
            error /= norms[name]
            compared += 1
        if error > worst:
            worst, where = error, name
    return worst, where, compared, missing


def main():
    name, text, arrays, result = sys.argv[1:]
    torch.set_num_threads(1)
    with open(text, encoding="utf-8") as f:
        description = json.load(f)
    ours, samples = read_ours(result)
    with np.load(arrays) as f:
        tensors = {key: f[key] for key in f.files}
    theirs, smooth = gradients(description, tensors, samples)
    worst, where, compared, missing = compare(total(ours, smooth), theirs)
    good = worst <= MOST and not missing and compared > 0 and len(smooth) >= LEAST_SAMPLES
    word = "PASS" if good else "FAIL"
    print(f"{word} {name}: {compared} weights, {len(smooth)} of {len(samples)} "
          f"samples (others touch a kink), largest relative difference {worst:.2g} ({where})"
          + (f"; on one side only: {', '.join(missing[:3])}" if missing else ""))
    sys.exit(not good)


if __name__ == "__main__":
    main()
