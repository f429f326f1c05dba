"""ONNX Runtime over the data files that onnxpress reads, and the measures both sides are held to.

A data file is a .npz with the model's inputs as keys (and `labels`). One axis of each input counts
samples: the one that carries the symbol of the batch dimension, else the first where it is symbolic
or 1; an input without such an axis serves every sample. Samples are run one at a time, so that a
scale found while running never depends on how they are grouped.
"""
import math

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(3)


def session(path, optimised=True, threads=1, dump=None):
    """A CPU session; `dump` names the file for the graph as optimised."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    levels = ort.GraphOptimizationLevel
    level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    if dump:
        options.optimized_model_filepath = dump
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def batch_symbol(values):
    """The name of the batch dimension: the first leading dimension that is symbolic."""
    for value in values:
        if value.shape and isinstance(value.shape[0], str):
            return value.shape[0]
    return None


def batch_axis(value, symbol):
    """Which axis of an input or output counts samples; None where none does."""
    if symbol is not None and symbol in value.shape:
        return value.shape.index(symbol)
    if value.shape and (isinstance(value.shape[0], str) or value.shape[0] in (None, 1)):
        return 0
    return None


def load_data(path):
    """(inputs and expected outputs by name, labels or None)."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    labels = arrays.pop("labels", None)
    return arrays, labels


def samples(model, arrays):
    """Yields the feeds of one sample after the other."""
    inputs = model.get_inputs()
    symbol = batch_symbol(inputs)
    axes = {}
    for value in inputs:
        axis = batch_axis(value, symbol)
        counts = axis is not None and arrays[value.name].ndim == len(value.shape)
        axes[value.name] = axis if counts else None
    count = next(arrays[n].shape[a] for n, a in axes.items() if a is not None)
    for i in range(count):
        yield {n: arrays[n] if a is None else arrays[n].take([i], a) for n, a in axes.items()}


def is_float(value):
    return value.type in ("tensor(float)", "tensor(double)", "tensor(float16)")


def float_outputs(model):
    return [value.name for value in model.get_outputs() if is_float(value)]


def run(model, arrays, names=None):
    """{output: all samples joined along the batch axis}."""
    names = names or [value.name for value in model.get_outputs()]
    outputs = {value.name: value for value in model.get_outputs()}
    symbol = batch_symbol(model.get_inputs())
    rows = [model.run(names, feed) for feed in samples(model, arrays)]
    joined = {}
    for k, name in enumerate(names):
        axis = batch_axis(outputs[name], symbol)
        parts = [row[k] for row in rows]
        joined[name] = np.stack(parts) if axis is None else np.concatenate(parts, axis)
    return joined


def sqnr_db(reference, other):
    """10 log10(sum of squares of the reference / sum of squared differences); inf when equal."""
    reference = np.asarray(reference, np.float64)
    noise = np.sum((reference - np.asarray(other, np.float64)) ** 2)
    signal = np.sum(reference ** 2)
    if not np.isfinite(noise):
        return -math.inf
    return math.inf if noise == 0 else 10 * math.log10(signal / noise) if signal else -math.inf


def largest_relative_error(reference, other):
    """The largest difference over the largest absolute value of the reference."""
    reference, other = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if reference.shape != other.shape:
        return math.inf
    difference = np.max(np.abs(reference - other), initial=0.0)
    return float(difference / max(np.max(np.abs(reference), initial=0.0), 1e-30))


def top1(logits, labels):
    return float(np.mean(np.argmax(logits, -1) == labels))
