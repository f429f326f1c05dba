"""Small modules, exported from PyTorch at every opset that its exporter writes (9 to 17).

    /usr/bin/python3 torch_modules.py [NAME...]     into <cache>/torch/modules/NAME_OPSET.onnx, .npz

One file for each spelling: an opset that gives the same nodes as the one before is left out. What
the exporter refuses at an opset is counted and said. Each comes with one sample for each input.
"""
import hashlib
import os
import re
import sys
import warnings

import cache
import torch_models
from torch_models import export, nn, np, sequences, torch

F = nn.functional
OPSETS = range(9, 18)


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def image(channels=8, side=10, count=1):
    return torch_models.pictures(torch.Generator().manual_seed(7), count, channels, 224)[
        :, :, 40:40 + 11 * side:11, 50:50 + 11 * side:11].contiguous()


def rows(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def steps(length=9, width=12):
    return sequences(torch.Generator().manual_seed(5), 1, length, width)


def integers(high, *shape):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(9))


class FirstOf(nn.Module):
    """A recurrent cell's sequence, its last states behind it."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        out, state = self.cell(x)
        return (out, *state) if isinstance(state, tuple) else (out, state)


class Attend(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Residual(nn.Module):
    """Pre-activation: BatchNormalization and Relu before the convolutions, padded ones."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(16)
        self.first, self.second = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 1)

    def forward(self, x):
        y = self.first(F.relu(self.norm1(x)))
        return x + self.second(self.norm2(y) * torch.sigmoid(y))


class NormAlone(nn.Module):
    """BatchNormalization that follows a pool, a concatenation and the input."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(c) for c in (8, 8, 16))
        self.conv = nn.Conv2d(16, 32, 1)

    def forward(self, x):
        x = self.norm1(x)
        y = self.norm2(F.avg_pool2d(x, 2))
        z = self.norm3(torch.cat([y, F.max_pool2d(x, 2)], 1))
        return self.conv(z)


class Tied(nn.Module):
    """Equal weights of several layers, which the exporter stores once and hands on by Identity."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(24, 24) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(24) for _ in range(3))
        self.second.weight = self.first.weight
        self.third.weight = nn.Parameter(self.first.weight.detach().clone())

    def forward(self, x):
        for layer, norm in zip((self.first, self.second, self.third), self.norms):
            x = norm(torch.tanh(layer(x)))
        return x


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False), nn.BatchNorm2d(8),
            nn.Hardswish(), nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24), nn.Hardswish(),
            nn.Conv2d(24, 24, 3, stride=2, padding=1, groups=4), nn.SiLU())

    def forward(self, x):
        return self.body(x)


class SqueezeExcite(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class ScaleBehind(nn.Module):
    """Scalars and vectors per channel around layers, subtracted constants, a division of ones."""

    def __init__(self):
        super().__init__()
        self.conv, self.line = nn.Conv2d(8, 6, 3), nn.Linear(6, 10)
        self.scale = nn.Parameter(rows(1, 6, 1, 1))
        self.register_buffer("less", rows(10))

    def forward(self, x):
        y = self.conv((x - 0.45) / 0.225) * self.scale + 0.5
        return 2.0 * self.line(y.mean((2, 3))) - self.less


class Weighted(nn.Module):
    """A function of the input and a weight that is no layer's."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(rows(*shape))

    def forward(self, x):
        return self.function(x, self.weight)


class Rotary(nn.Module):
    """Slices of constants and of halves, negated and joined."""

    def __init__(self):
        super().__init__()
        angles = torch.outer(torch.arange(16.0), 10000.0 ** (-torch.arange(0, 1, 0.25)))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos())
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin())

    def forward(self, x):
        half = torch.cat([-x[..., 4:], x[..., :4]], -1)
        length = x.size(1)
        return x * self.cos[:length] + half * self.sin[:length]


@torch.jit.script
def branch(x, flag):
    if bool(flag.sum() > 0):
        y = torch.relu(x) * 2.0
    else:
        y = torch.sigmoid(x) - 1.0
    return y


@torch.jit.script
def repeat(x, times):
    total = torch.zeros_like(x)
    for k in range(int(times)):
        total = torch.tanh(total + x * float(k + 1))
    return total


@torch.jit.script
def decode(x):
    state = torch.zeros(x.size(0), x.size(2))
    kept = []
    for k in range(x.size(1)):
        state = torch.tanh(0.5 * state + x[:, k])
        kept.append(state)
    return torch.stack(kept, 1)


def window_attention(x):
    """Roll, cut into windows, mix, put together again."""
    n, h, w, c = x.shape
    x = torch.roll(x, (-2, -2), (1, 2)).view(n, h // 4, 4, w // 4, 4, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
    x = torch.softmax(x @ x.transpose(1, 2) / c ** 0.5, -1) @ x
    x = x.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    return torch.roll(x, (2, 2), (1, 2))


def grid(side):
    return rows(1, side, side, 2).clamp(-1.2, 1.2)


def resize(mode, corners=None, size=None, factor=None):
    def function(x):
        return F.interpolate(x, size=size, scale_factor=factor, mode=mode, align_corners=corners)
    return Call(function)


def on_image(module, **shape):
    return module, (image(**shape),)


def on_rows(module, *shape):
    return module, (rows(*shape),)


MODULES = {
    # activations
    "gelu": on_rows(nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 24)), 2, 5, 24),
    "gelu_tanh": on_rows(nn.Sequential(nn.Linear(24, 32), Call(torch_models.gelu_tanh)), 2, 5, 24),
    "gelu_tanh_torch": on_rows(nn.Sequential(nn.Linear(24, 32), nn.GELU("tanh")), 2, 5, 24),
    "gelu_quick": on_rows(Call(lambda x: x * torch.sigmoid(1.702 * x)), 2, 30),
    "silu": on_image(nn.Sequential(nn.Conv2d(8, 8, 3), nn.SiLU())),
    "hard_swish": on_image(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Hardswish())),
    "hard_swish_spelled": on_image(nn.Sequential(
        nn.Conv2d(8, 8, 3), Call(lambda x: x * F.relu6(x + 3) / 6))),
    "hard_sigmoid": on_rows(nn.Hardsigmoid(), 4, 30),
    "relu6": on_image(nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU6())),
    "mish": on_rows(nn.Mish(), 4, 30),
    "prelu": on_image(nn.PReLU(8)),
    "many_activations": on_rows(nn.Sequential(
        nn.LeakyReLU(0.2), nn.ELU(), nn.SELU(), nn.CELU(0.7), nn.Softplus(), nn.Softsign(),
        nn.Hardtanh(-0.5, 0.5), nn.LogSigmoid(), nn.Softshrink(0.2), nn.Hardshrink(0.1)), 4, 30),
    "glu": on_rows(nn.GLU(), 4, 30),
    "log_softmax": on_rows(nn.Sequential(nn.Softmax(1), nn.LogSoftmax(-1)), 2, 6, 7),
    "softmin": on_rows(nn.Softmin(1), 2, 6),
    # normalisations
    "layer_norm": on_rows(nn.Sequential(nn.Linear(24, 24), nn.LayerNorm(24)), 2, 5, 24),
    "layer_norm_plain": on_rows(nn.LayerNorm(24, elementwise_affine=False), 2, 5, 24),
    "layer_norm_channels": on_image(Call(lambda x: F.layer_norm(
        x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2))),
    "group_norm": on_image(nn.GroupNorm(4, 8)),
    "group_norm_conv": on_image(nn.Sequential(nn.Conv2d(8, 16, 3), nn.GroupNorm(4, 16), nn.SiLU())),
    "instance_norm": on_image(nn.InstanceNorm2d(8, affine=True)),
    "instance_norm_plain": on_image(nn.InstanceNorm2d(8)),
    "local_response": on_image(nn.LocalResponseNorm(3)),
    "batch_norm_1d": on_rows(
        nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20), nn.ReLU()), 3, 12),
    "batch_norm_3d": (nn.Sequential(nn.Conv3d(3, 6, 3), nn.BatchNorm3d(6)), (rows(1, 3, 6, 7, 8),)),
    "norm_alone": on_image(NormAlone()),
    "residual": on_image(Residual()),
    "rms_norm": on_rows(Call(lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
                        2, 5, 24),
    "weight_norm": on_image(nn.utils.weight_norm(nn.Conv2d(8, 8, 3))),
    "l2_normalize": on_rows(Call(lambda x: F.normalize(x, dim=-1)), 2, 5, 24),
    # convolutions
    "conv_1d": (nn.Conv1d(12, 16, 3, padding=2, dilation=2), (rows(1, 12, 20),)),
    "conv_3d": (nn.Conv3d(3, 6, (1, 3, 2), stride=2), (rows(1, 3, 6, 7, 8),)),
    "separable": on_image(Separable()),
    "squeeze_excite": on_image(SqueezeExcite()),
    "conv_circular": on_image(nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")),
    "conv_reflect": on_image(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")),
    "deconv": on_image(nn.ConvTranspose2d(8, 12, 3, 2, 1, output_padding=1)),
    "deconv_grouped": on_image(nn.ConvTranspose2d(8, 12, 4, 2, 1, groups=4, bias=False)),
    "deconv_norm": on_image(nn.Sequential(nn.ConvTranspose2d(8, 12, 2, 2), nn.BatchNorm2d(12))),
    "deconv_1d": (nn.ConvTranspose1d(12, 4, 5, 3), (rows(1, 12, 20),)),
    "conv_functional": (Call(F.conv2d), (image(), rows(4, 8, 3, 3))),
    "scale_behind": on_image(ScaleBehind()),
    # resizing and sampling
    "nearest": on_image(resize("nearest", factor=2.0)),
    "nearest_size": on_image(resize("nearest", size=(13, 7))),
    "bilinear": on_image(resize("bilinear", False, factor=2.0)),
    "bilinear_corners": on_image(resize("bilinear", True, size=(15, 23))),
    "bicubic": on_image(resize("bicubic", False, factor=1.7)),
    "bicubic_corners": on_image(resize("bicubic", True, size=(17, 5))),
    "linear_1d": (resize("linear", False, size=17), (rows(1, 4, 11),)),
    "trilinear": (resize("trilinear", False, factor=2.0), (rows(1, 2, 4, 5, 6),)),
    "area": on_image(resize("area", size=(5, 5))),
    "grid_sample": (Call(lambda x, g: F.grid_sample(x, g, align_corners=False)),
                    (image(), grid(6))),
    "grid_sample_nearest": (Call(lambda x, g: F.grid_sample(
        x, g, mode="nearest", padding_mode="border", align_corners=True)), (image(), grid(6))),
    "grid_sample_bicubic": (Call(lambda x, g: F.grid_sample(
        x, g, mode="bicubic", padding_mode="reflection", align_corners=True)), (image(), grid(6))),
    "pixel_shuffle": on_image(nn.Sequential(nn.Conv2d(8, 12, 3), nn.PixelShuffle(2))),
    "pixel_unshuffle": on_image(nn.PixelUnshuffle(2)),
    "unfold": on_image(nn.Unfold(3, dilation=2, padding=1, stride=2)),
    # pools
    "adaptive_pools": on_image(Call(lambda x: torch.cat([
        F.adaptive_avg_pool2d(x, 5).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)], 1))),
    "pools": on_image(Call(lambda x: torch.cat([
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False).flatten(1),
        F.avg_pool2d(x, 3, 2, 1, ceil_mode=True).flatten(1),
        F.max_pool2d(x, 3, 2, 1, ceil_mode=True).flatten(1),
        F.max_pool2d(x, 2, dilation=2).flatten(1)], 1))),
    "max_pool_indices": on_image(Call(lambda x: F.max_pool2d(x, 2, return_indices=True))),
    "lp_pool": on_image(nn.LPPool2d(2, 3)),
    # padding
    "pads": on_image(Call(lambda x: torch.cat([
        F.pad(x, (1, 2, 0, 3), value=0.7).flatten(1), F.pad(x, (2, 1, 3, 0), "reflect").flatten(1),
        F.pad(x, (1, 1, 2, 2), "replicate").flatten(1), F.pad(x, (-1, 2)).flatten(1)], 1))),
    "pad_circular": on_image(Call(lambda x: F.pad(x, (1, 2, 2, 1), "circular"))),
    # recurrent
    "lstm_1": (FirstOf(nn.LSTM(12, 16)), (rows(7, 1, 12),)),
    "lstm_both": (FirstOf(nn.LSTM(12, 16, 2, batch_first=True, bidirectional=True)), (steps(),)),
    "lstm_no_bias": (FirstOf(nn.LSTM(12, 16, bias=False)), (rows(7, 1, 12),)),
    "gru_both": (FirstOf(nn.GRU(12, 16, 2, batch_first=True, bidirectional=True)), (steps(),)),
    "rnn_tanh": (FirstOf(nn.RNN(12, 16, 2, batch_first=True)), (steps(),)),
    "rnn_relu": (FirstOf(nn.RNN(12, 16, nonlinearity="relu", bidirectional=True)), (steps(),)),
    "lstm_cell": (nn.LSTMCell(12, 16), (rows(1, 12),)),
    "gru_cell": (nn.GRUCell(12, 16), (rows(1, 12),)),
    # attention
    "attention": on_rows(Attend(), 1, 9, 32),
    "encoder_layer": on_rows(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 1, 9, 32),
    "encoder_layer_first": on_rows(nn.TransformerEncoderLayer(
        32, 4, 64, activation="gelu", norm_first=True, batch_first=True), 1, 9, 32),
    "decoder_layer": (nn.TransformerDecoderLayer(32, 4, 64, batch_first=True),
                      (rows(1, 5, 32), rows(1, 9, 32))),
    "window_attention": on_rows(Call(window_attention), 1, 8, 12, 16),
    "rotary": on_rows(Rotary(), 1, 11, 8),
    "tied": on_rows(Tied(), 2, 6, 24),
    # tables
    "embedding": (nn.Sequential(nn.Embedding(50, 24, padding_idx=0), nn.Linear(24, 12)),
                  (integers(50, 1, 9),)),
    "embedding_bag": (nn.EmbeddingBag(50, 16, mode="mean"), (integers(50, 1, 6),)),
    "embedding_bag_sum": (nn.EmbeddingBag(50, 16, mode="sum"), (integers(50, 2, 6),)),
    # products
    "einsum": (Call(lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b)),
               (rows(2, 3, 4, 5), rows(2, 3, 6, 5))),
    "einsum_weight": on_rows(Weighted(lambda x, w: torch.einsum("bld,dhk->blhk", x, w), 24, 3, 8),
                             2, 5, 24),
    "weight_first": on_rows(Weighted(lambda x, w: w @ x.transpose(1, 2), 30, 24), 2, 5, 24),
    "weight_behind": on_rows(Weighted(lambda x, w: x @ w.t(), 30, 24), 2, 5, 24),
    "weight_view": on_rows(Weighted(lambda x, w: x @ w.view(24, 40), 4, 6, 40), 2, 5, 24),
    "weight_parts": on_rows(Weighted(lambda x, w: torch.cat(
        [F.linear(x, part) for part in w.chunk(3, 0)], -1), 72, 24), 2, 5, 24),
    "matmul_shapes": (Call(lambda a, b: (a @ b, a[0, 0] @ b[0, :, 0], a @ b[0, :, 0])),
                      (rows(2, 3, 4), rows(2, 4, 5))),
    "addmm": (Call(lambda a, b, c: torch.addmm(c, a, b, beta=0.5, alpha=1.5)),
              (rows(3, 4), rows(4, 5), rows(5))),
    "baddbmm": (Call(lambda a, b, c: torch.baddbmm(c, a, b)),
                (rows(2, 3, 4), rows(2, 4, 5), rows(2, 1, 5))),
    # indices
    "index": (Call(lambda x: (x[:, [2, 0, 1]], x[..., -1], x[:, ::2], x[:, None, 1:3])),
              (rows(2, 5, 6),)),
    "index_tensors": (Call(lambda x, i, j: x[i, j]),
                      (rows(6, 7, 3), integers(6, 4), integers(7, 4))),
    "index_select": (Call(lambda x, i: torch.index_select(x, 1, i)), (rows(3, 7), integers(7, 4))),
    "gather": (Call(lambda x, i: torch.gather(x, 1, i)), (rows(3, 7), integers(7, 3, 4))),
    "scatter": (Call(lambda x, i, s: x.scatter(1, i, s)),
                (rows(3, 7), torch.tensor([[0, 2], [1, 3], [6, 4]]), rows(3, 2))),
    "scatter_add": (Call(lambda x, i, s: x.scatter_add(1, i, s)),
                    (rows(3, 7), integers(7, 3, 4), rows(3, 4))),
    "index_put": (Call(lambda x, i, v: x.clone().index_put((i,), v)),
                  (rows(6, 3), torch.tensor([4, 0]), rows(2, 3))),
    "index_add": (Call(lambda x, i, v: torch.index_add(x, 0, i, v)),
                  (rows(6, 3), torch.tensor([4, 0]), rows(2, 3))),
    "masked_fill": (Call(lambda x: x.masked_fill(x > 0.5, -1.0)), (rows(3, 7),)),
    "masked_select": (Call(lambda x: torch.masked_select(x, x > 0)), (rows(3, 7),)),
    "slice_assign": (Call(lambda x: torch.cat([x[:, :2] * 2, x[:, 2:-1], x[:, -1:]], 1)),
                     (rows(3, 7),)),
    "topk": (Call(lambda x: torch.topk(x, 3, dim=1)), (rows(3, 7),)),
    "sort": (Call(lambda x: torch.sort(x, 1, descending=True)), (rows(3, 7),)),
    "argmax": (Call(lambda x: (x.argmax(1), x.argmin(), x.max(1), x.min(0)[0])), (rows(3, 7),)),
    "where": (Call(lambda x, y: torch.where(x > y, x, y * 2)), (rows(3, 7), rows(1, 7))),
    "nonzero": (Call(lambda x: torch.nonzero(x > 0.3)), (rows(3, 7),)),
    "one_hot": (Call(lambda i: F.one_hot(i, 9)), (integers(9, 2, 4),)),
    "unique": (Call(lambda i: torch.unique(i)), (integers(5, 12),)),
    "cumsum": (Call(lambda x: torch.cumsum(x, 1)), (rows(3, 7),)),
    "flip_roll": (Call(lambda x: (x.flip(1), torch.roll(x, 2, 1))), (rows(3, 7),)),
    "tril": (Call(lambda x: (x.tril(), x.triu(1))), (rows(5, 5),)),
    "meshgrid": (Call(lambda x, y: torch.stack(torch.meshgrid(x, y, indexing="ij"), -1)),
                 (rows(4), rows(5))),
    "arange": (Call(lambda x: x + torch.arange(x.size(1)) + torch.linspace(0, 1, 7)),
               (rows(3, 7),)),
    # shapes
    "reshapes": (Call(lambda x: (x.view(x.size(0), -1), x.unsqueeze(1).expand(-1, 3, -1, -1),
                                 x.repeat(1, 2, 1), x.transpose(1, 2).flatten(1))),
                 (rows(2, 3, 4),)),
    "chunks": (Call(lambda x: (*x.chunk(3, 1), *torch.split(x, [2, 5], 1), *x.unbind(0))),
               (rows(3, 7),)),
    "stack": (Call(lambda x, y: (torch.stack([x, y], 1), torch.cat([x, y], -1))),
              (rows(3, 7), rows(3, 7))),
    # arithmetic
    "reductions": (Call(lambda x: (x.mean((1, 2)), x.sum(), x.prod(1), x.std(1), x.var(2),
                                   x.norm(dim=1), x.logsumexp(1), x.amax(2), x.abs().max())),
                   (rows(2, 5, 6),)),
    "arithmetic": (Call(lambda x, y: (x.pow(2), (x.abs() + 0.1).rsqrt(), torch.erf(x), x.sign(),
                                      x.floor(), x.round(), x % 0.7, torch.fmod(x, y), x // 0.3,
                                      x.clamp(min=-0.2), torch.remainder(x, y), x.exp().log1p(),
                                      x.reciprocal(), torch.sin(x), torch.acos(x / 9))),
                   (rows(3, 7), rows(3, 7))),
    "comparisons": (Call(lambda x, y: ((x > y) & (x != 0), (x <= y) | ~(y < 0), x.isnan(),
                                       (x == x).all(), (x > 2).any(1))), (rows(3, 7), rows(3, 7))),
    "casts": (Call(lambda x: (x.int() + 1, x.double() * 0.1, (x > 0).float(), x.half().float(),
                              x.to(torch.uint8).long())), (rows(3, 7).abs() * 20,)),
    "distance": (Call(lambda x, y: (torch.cdist(x, y), F.cosine_similarity(x, x.flip(0), 1))),
                 (rows(5, 4), rows(6, 4))),
    # control flow
    "if": (Call(branch), (rows(3, 7), torch.tensor([1]))),
    "if_not": (Call(branch), (rows(3, 7), torch.tensor([-1]))),
    "loop": (Call(repeat), (rows(3, 7), torch.tensor(4))),
    "loop_sequence": (Call(decode), (rows(1, 5, 6),)),
}


def spelling(path):
    """The file without the opset number and names: equal for equal nodes."""
    with open(path, "rb") as f:
        data = f.read()
    return hashlib.sha256(re.sub(rb"onnx::[A-Za-z]+_\d+", b"", data[:-4])).hexdigest()


def prepared(name):
    module, inputs = MODULES[name]
    torch.manual_seed(torch_models.seed_of(name))
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
            part.running_mean.normal_(std=0.3)
            part.running_var.uniform_(0.5, 2)
    return module.eval(), inputs


def make(name, refused):
    """Files of one module, an opset at a time; opsets that the exporter refuses go to `refused`."""
    module, inputs = prepared(name)
    names, seen = [f"in{k}" for k in range(len(inputs))], set()
    for opset in OPSETS:
        stem = cache.place("torch", "modules", f"{name}_{opset}")
        try:
            export(stem + ".onnx", module, inputs, names, opset)
        except Exception as error:
            refused.append(f"{name} at {opset}: {' '.join(str(error).split())[:90]}")
            continue
        key = spelling(stem + ".onnx")
        if key in seen:
            os.remove(stem + ".onnx")
            continue
        seen.add(key)
        np.savez(stem + ".npz", **{n: t.detach().numpy() for n, t in zip(names, inputs)})


def main():
    warnings.simplefilter("ignore")
    stamp, whole = cache.place("torch", "modules", "made-from"), not sys.argv[1:]
    if whole and os.path.exists(stamp) and open(stamp).read() == cache.sha256(__file__):
        return
    refused = []
    for name in sys.argv[1:] or MODULES:
        make(name, refused)
    for line in refused:
        cache.say("the exporter refuses " + line)
    if whole:
        cache.write_atomically(stamp, cache.sha256(__file__).encode())


if __name__ == "__main__":
    main()
