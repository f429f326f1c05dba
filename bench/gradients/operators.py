"""The operators of the models that torch_gradients.py runs, on PyTorch tensors in float64.

Each takes its inputs (None where omitted) and its attributes and returns a tensor, or a tuple of
them. Only what those models use of an operator is here; anything else is an error.
"""
import torch
from torch.nn import functional

FLOATS = (1, 10, 11, 16)        # ONNX's numbers of float types: all become float64


def ints(tensor):
    return [int(v) for v in tensor.reshape(-1)]


def given(x, a, i, name, otherwise=None):
    """A list that is input i in newer opsets and an attribute in older ones."""
    if i < len(x) and x[i] is not None:
        return ints(x[i])
    return a.get(name, otherwise)


# ---- shapes and movement ----

def shape(x, a):
    return torch.tensor(list(x[0].shape)[a.get("start", 0):a.get("end")], dtype=torch.int64)


def reshape(x, a):
    dims = ints(x[1])
    return x[0].reshape([x[0].shape[i] if d == 0 else d for i, d in enumerate(dims)])


def flatten(x, a):
    axis = a.get("axis", 1)
    rows = 1
    for d in x[0].shape[:axis]:
        rows *= d
    return x[0].reshape(rows, -1)


def gather(x, a):
    axis, index = a.get("axis", 0), x[1]
    size = x[0].shape[axis]
    flat = torch.where(index < 0, index + size, index).reshape(-1)
    dims = list(x[0].shape[:axis]) + list(index.shape) + list(x[0].shape[axis + 1:])
    return x[0].index_select(axis, flat).reshape(dims)


def unsqueeze(x, a):
    y, axes = x[0], given(x, a, 1, "axes")
    rank = y.dim() + len(axes)
    for axis in sorted(d % rank for d in axes):
        y = y.unsqueeze(axis)
    return y


def squeeze(x, a):
    y, axes = x[0], given(x, a, 1, "axes")
    axes = [d for d, n in enumerate(y.shape) if n == 1] if axes is None else axes
    for axis in sorted((d % y.dim() for d in axes), reverse=True):
        y = y.squeeze(axis)
    return y


def slice_(x, a):
    y, starts, ends = x[0], given(x, a, 1, "starts"), given(x, a, 2, "ends")
    axes = given(x, a, 3, "axes", list(range(len(starts))))
    steps = given(x, a, 4, "steps", [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps):
        index = range(y.shape[axis])[start:end:step]
        y = y.index_select(axis, torch.tensor(list(index), dtype=torch.int64))
    return y


def pad(x, a):
    pads = given(x, a, 1, "pads")
    rank = x[0].dim()
    if a.get("mode") != "reflect" or any(pads[d] or pads[rank + d] for d in range(rank - 1)):
        raise NotImplementedError("Pad other than reflect on the last axis")
    rows = x[0].reshape(1, -1, x[0].shape[-1])
    rows = functional.pad(rows, (pads[rank - 1], pads[-1]), mode="reflect")
    return rows.reshape(*x[0].shape[:-1], rows.shape[-1])


def expand(x, a):
    return x[0].expand(torch.broadcast_shapes(x[0].shape, tuple(ints(x[1]))))


def constant_of_shape(x, a):
    value = a["value"]
    return torch.full(ints(x[0]), value.reshape(-1)[0].item(), dtype=value.dtype)


def cast(x, a):
    kinds = {6: torch.int32, 7: torch.int64, 9: torch.bool}
    return x[0].to(torch.float64 if a["to"] in FLOATS else kinds[a["to"]])


# ---- elementwise ----

def clip(x, a):
    low = x[1] if len(x) > 1 and x[1] is not None else a.get("min")
    high = x[2] if len(x) > 2 and x[2] is not None else a.get("max")
    return torch.clamp(x[0], low, high)


def divide(x, a):
    rounding = None if x[0].is_floating_point() else "trunc"
    return torch.div(x[0], x[1], rounding_mode=rounding)


# ---- reductions and normalisation ----

def reduce_by(function):
    def run(x, a):
        axes = given(x, a, 1, "axes", list(range(x[0].dim())))
        return function(x[0], dim=axes, keepdim=bool(a.get("keepdims", 1)))
    return run


def layer_normalization(x, a):
    axes = list(range(a.get("axis", -1) % x[0].dim(), x[0].dim()))
    centred = x[0] - x[0].mean(axes, keepdim=True)
    deviation = torch.sqrt((centred * centred).mean(axes, keepdim=True) + a.get("epsilon", 1e-5))
    return centred / deviation * x[1] + (x[2] if len(x) > 2 else 0)


def batch_normalization(x, a):
    dims = [1, -1] + [1] * (x[0].dim() - 2)
    scale, bias, mean, variance = (v.reshape(dims) for v in x[1:5])
    return (x[0] - mean) / torch.sqrt(variance + a.get("epsilon", 1e-5)) * scale + bias


# ---- products, windows, cells ----

def padded(x, a, value):
    spatial = x.dim() - 2
    if a.get("auto_pad", "NOTSET") != "NOTSET" or a.get("ceil_mode"):
        raise NotImplementedError("auto_pad, ceil_mode")
    pads = a.get("pads", [0] * 2 * spatial)
    both = [n for d in reversed(range(spatial)) for n in (pads[d], pads[spatial + d])]
    return functional.pad(x, both, value=value) if any(both) else x


def convolution(x, a):
    spatial = x[0].dim() - 2
    run = {1: functional.conv1d, 2: functional.conv2d}[spatial]
    return run(padded(x[0], a, 0.0), x[1], x[2] if len(x) > 2 else None,
               stride=a.get("strides", [1] * spatial), dilation=a.get("dilations", [1] * spatial),
               groups=a.get("group", 1))


def max_pool(x, a):
    kernel = a["kernel_shape"]
    return functional.max_pool2d(padded(x[0], a, float("-inf")), kernel,
                                 a.get("strides", [1] * len(kernel)))


def gemm(x, a):
    left = x[0].T if a.get("transA") else x[0]
    right = x[1].T if a.get("transB") else x[1]
    bias = a.get("beta", 1.0) * x[2] if len(x) > 2 else 0
    return a.get("alpha", 1.0) * (left @ right) + bias


def lstm(x, a):
    """One direction, gates i o f c, no peepholes; X[T, B, I] -> Y[T, 1, B, H]."""
    if a.get("direction", "forward") != "forward" or a.get("layout") or len(x) > 7:
        raise NotImplementedError("LSTM other than forward")
    if len(x) > 4 and x[4] is not None:
        raise NotImplementedError("LSTM with sequence lengths")
    weights, recurrent = x[1][0], x[2][0]
    bias = x[3][0].reshape(2, -1).sum(0) if x[3] is not None else 0
    h, c = x[5][0], x[6][0]
    steps = []
    for step in x[0]:
        i, o, f, g = (step @ weights.T + h @ recurrent.T + bias).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        steps.append(h)
    return torch.stack(steps)[:, None], h[None], c[None]


# ---- kinks ----

def second_best(x, a):
    """How far the largest of a window is ahead of the next that is not the same number."""
    kernel, strides = a["kernel_shape"], a.get("strides", [1] * len(a["kernel_shape"]))
    windows = padded(x, a, float("-inf"))
    for axis, (size, step) in enumerate(zip(kernel, strides)):
        windows = windows.unfold(2 + axis, size, step)
    ahead = windows.flatten(4).max(-1, keepdim=True).values - windows.flatten(4)
    return ahead[(ahead > 0) & torch.isfinite(ahead)]


def bounds(x, a):
    return [v for v in (x[1] if len(x) > 1 else a.get("min"), x[2] if len(x) > 2 else a.get("max"))
            if v is not None]


def kink_distance(op, x, a):
    """The least distance of an input to where its operator has two slopes, over its mean size."""
    if op in ("Relu", "LeakyRelu"):
        gaps = [x[0]]
    elif op == "HardSigmoid":
        line = a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5)
        gaps = [line, line - 1]
    elif op == "Clip" and x[0].is_floating_point():
        gaps = [x[0] - v for v in bounds(x, a)]
    elif op == "Max":
        gaps = [x[0] - x[1]]
    elif op == "MaxPool":
        gaps = [second_best(x[0], a)]
    else:
        return float("inf")
    least = min((float(g.abs().min()) for g in gaps if g.numel()), default=float("inf"))
    return least / (float(x[0].abs().mean()) or 1.0)


OPERATORS = {
    "Add": lambda x, a: x[0] + x[1],
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": lambda x, a: torch.cat(x, a["axis"]),
    "ConstantOfShape": constant_of_shape,
    "Conv": convolution,
    "Div": divide,
    "Equal": lambda x, a: x[0] == x[1],
    "Erf": lambda x, a: torch.erf(x[0]),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": lambda x, a: x[0].mean(list(range(2, x[0].dim())), keepdim=True),
    "HardSigmoid": lambda x, a: torch.clamp(a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5), 0, 1),
    "Identity": lambda x, a: x[0],
    "LSTM": lstm,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda x, a: functional.leaky_relu(x[0], a.get("alpha", 0.01)),
    "Log": lambda x, a: torch.log(x[0]),
    "MatMul": lambda x, a: x[0] @ x[1],
    "Max": lambda x, a: torch.maximum(x[0], x[1]),
    "MaxPool": max_pool,
    "Mul": lambda x, a: x[0] * x[1],
    "Neg": lambda x, a: -x[0],
    "Pad": pad,
    "Pow": lambda x, a: torch.pow(x[0], x[1]),
    "ReduceMean": reduce_by(torch.mean),
    "ReduceSum": reduce_by(torch.sum),
    "Relu": lambda x, a: torch.relu(x[0]),
    "Reshape": reshape,
    "Shape": shape,
    "Sigmoid": lambda x, a: torch.sigmoid(x[0]),
    "Slice": slice_,
    "Softmax": lambda x, a: torch.softmax(x[0], a.get("axis", -1)),
    "Sqrt": lambda x, a: torch.sqrt(x[0]),
    "Squeeze": squeeze,
    "Sub": lambda x, a: x[0] - x[1],
    "Transpose": lambda x, a: x[0].permute(a["perm"]),
    "Unsqueeze": unsqueeze,
    "Where": lambda x, a: torch.where(x[0], x[1], x[2]),
}
