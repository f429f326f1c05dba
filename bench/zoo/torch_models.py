"""Models as people export them from PyTorch, and the samples that calibrate and judge them.

    /usr/bin/python3 torch_models.py [NAME...]
        into <cache>/torch/NAME.onnx, NAME_calibration.npz, NAME_evaluation.npz

The weights are the libraries' own initialisation, seeded by the name; where that switches a part
off (a zero head, a layer scale of 1e-6) it is drawn anew. BatchNormalization gets its running
statistics from pictures in training mode. Nothing is trained: these models judge exactness, forms,
size and speed, not accuracy. Exporting needs python3-torch and python3-torchvision.
"""
import hashlib
import io
import math
import os
import sys
import warnings

import numpy as np

import cache

try:
    import torch
    import torchvision.models as zoo
    from torch import nn
except ImportError as error:
    raise SystemExit(f"{error}: apt-get install python3-torch python3-torchvision") from None

CALIBRATION, EVALUATION = 16, 8
VOCABULARY = 2000


# ---- samples ----

def pictures(generator, count, channels=3, side=224):
    """Smooth random fields with edges, normalised as pictures are: zero mean, unit variance."""
    made = torch.zeros(count, channels, side, side)
    for cells in (4, 16, 56, side):
        field = torch.randn(count, channels, cells, cells, generator=generator)
        made += nn.functional.interpolate(field, (side, side), mode="bilinear") / np.sqrt(cells)
    steps = torch.sign(made.mean(1, keepdim=True))
    return (made + 0.3 * steps) / (made + 0.3 * steps).std()


def tokens(generator, count, length):
    """Ids with few frequent and many rare ones; each row ends in padding of its own length."""
    draws = torch.rand(count, length, generator=generator)
    ids = (VOCABULARY ** draws).long().clamp(1, VOCABULARY - 1)
    ends = torch.randint(length // 2, length + 1, (count, 1), generator=generator)
    mask = (torch.arange(length)[None] < ends).long()
    return ids * mask, mask


def sequences(generator, count, length, width):
    """Random walks of features, so that a state has something to remember."""
    return torch.randn(count, length, width, generator=generator).cumsum(1) / np.sqrt(length / 4)


# ---- models that no library ships in this form ----

class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
            nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Four levels; the way up alternates transposed convolution and bilinear resizing."""

    def __init__(self, widths=(32, 64, 128, 256)):
        super().__init__()
        self.down = nn.ModuleList([DoubleConv(a, b) for a, b in zip((3,) + widths, widths)])
        turned = widths[::-1]
        self.grow = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, 2) if k % 2 == 0 else
                                   nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"),
                                                 nn.Conv2d(a, b, 1))
                                   for k, (a, b) in enumerate(zip(turned, turned[1:]))])
        self.up = nn.ModuleList([DoubleConv(2 * b, b) for b in turned[1:]])
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x):
        kept = []
        for block in self.down:
            x = block(nn.functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for grow, block in zip(self.grow, self.up):
            x = block(torch.cat([kept.pop(), grow(x)], 1))
        return self.head(x)


class Attention(nn.Module):
    """As most libraries spell it: three Linear, views, permutes, a scaled product, a mask added."""

    def __init__(self, width, heads):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def split(self, x):
        return x.view(x.size(0), x.size(1), self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x, bias):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1)) + bias
        mixed = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        return self.out(mixed.view(x.size(0), x.size(1), -1))


class Block(nn.Module):
    def __init__(self, width, heads, activation):
        super().__init__()
        self.attention, self.activation = Attention(width, heads), activation
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)

    def forward(self, x, bias):
        x = self.norm1(x + self.attention(x, bias))
        return self.norm2(x + self.second(self.activation(self.first(x))))


class Bert(nn.Module):
    def __init__(self, width=256, heads=4, layers=4, length=128):
        super().__init__()
        self.word, self.kind = nn.Embedding(VOCABULARY, width), nn.Embedding(2, width)
        self.place = nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width, 1e-12)
        self.blocks = nn.ModuleList([Block(width, heads, nn.GELU()) for _ in range(layers)])
        self.pool, self.classes = nn.Linear(width, width), nn.Linear(width, 8)

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.size(1))[None]
        x = self.word(input_ids) + self.place(places) + self.kind(torch.zeros_like(input_ids))
        x, bias = self.norm(x), (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
        for block in self.blocks:
            x = block(x, bias)
        return x, self.classes(torch.tanh(self.pool(x[:, 0])))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))))


class Gpt(nn.Module):
    """Causal, the tanh form of GELU, logits through the transposed embedding table."""

    def __init__(self, width=192, heads=6, layers=3, length=64):
        super().__init__()
        self.word, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads, gelu_tanh) for _ in range(layers)])
        self.register_buffer("seen", torch.tril(torch.ones(length, length)).bool())

    def forward(self, input_ids):
        length = input_ids.size(1)
        x = self.word(input_ids) + self.place(torch.arange(length))[None]
        bias = (1.0 - self.seen[:length, :length].float())[None, None] * -1e4
        for block in self.blocks:
            x = block(x, bias)
        return nn.functional.linear(x, self.word.weight)


class Recurrent(nn.Module):
    """Two layers in both directions over features, then classes of every step."""

    def __init__(self, kind, width=40, hidden=128):
        super().__init__()
        self.cells = kind(width, hidden, 2, batch_first=True, bidirectional=True)
        self.classes = nn.Linear(2 * hidden, 20)

    def forward(self, x):
        return self.classes(self.cells(x)[0])


class ChannelsLast(nn.Module):
    """A convolutional model that takes [N,H,W,C], as what TensorFlow writes does."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.permute(0, 3, 1, 2))


# ---- initialisation ----

def awaken(model):
    """Draws anew what the libraries start at zero or next to it."""
    for name, weight in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if last == "layer_scale":
            nn.init.uniform_(weight, 0.1, 0.5)
        elif weight.dim() >= 2 and weight.abs().max() < 1e-3:
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
        elif last == "bias" and weight.abs().max() == 0:
            nn.init.normal_(weight, std=0.02)


def end_branches(model):
    """Starts the last normalisation of a residual branch at zero, as resnet50's own flag does."""
    for block in model.modules():
        branch = block if getattr(block, "use_res_connect", False) else \
            block.f if type(block).__name__ == "ResBottleneckBlock" else None
        norms = [m for m in (branch.modules() if branch else ()) if isinstance(m, nn.BatchNorm2d)]
        if norms:
            nn.init.zeros_(norms[-1].weight)


def settle(model, inputs):
    """Running statistics from two passes over the inputs in training mode, plainly averaged."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            last = module.weight.abs().max() == 0       # of a residual branch
            nn.init.uniform_(module.weight, *((0.1, 0.5) if last else (0.5, 1.5)))
            nn.init.normal_(module.bias, std=0.1)
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(*inputs)
    return model.eval()


# ---- the list ----

class Entry:
    def __init__(self, build, samples, names=("input",), opset=14, dynamic=(), export=None):
        self.build, self.samples, self.names = build, samples, names
        self.opset, self.dynamic, self.export = opset, dynamic, export or {}


def vision(build, opset=14, dynamic=True, side=224, **export):
    return Entry(build, lambda g, n: (pictures(g, n, side=side),), ("input",), opset,
                 ({0: "N"},) if dynamic else (), export)


TEXT = ({0: "N", 1: "L"}, {0: "N", 1: "L"})
ENTRIES = {
    "resnet50": vision(lambda: zoo.resnet50(zero_init_residual=True)),
    "resnet18_plain": vision(lambda: zoo.resnet18(zero_init_residual=True), 11,
                             training=torch.onnx.TrainingMode.PRESERVE,
                             do_constant_folding=False, keep_initializers_as_inputs=True),
    "mobilenet_v2": vision(zoo.mobilenet_v2, 12),
    "mobilenet_v3_small": vision(zoo.mobilenet_v3_small, 13),
    "mobilenet_v3_large": vision(zoo.mobilenet_v3_large, 14, False),
    "mobilenet_v2_nhwc": Entry(lambda: ChannelsLast(zoo.mobilenet_v2()),
                               lambda g, n: (pictures(g, n).permute(0, 2, 3, 1).contiguous(),),
                               opset=13),
    "efficientnet_b0": vision(zoo.efficientnet_b0),
    "regnet_y_400mf": vision(zoo.regnet_y_400mf, 13),
    "shufflenet_v2": vision(zoo.shufflenet_v2_x1_0, 13),
    "squeezenet1_1": vision(zoo.squeezenet1_1, 9),
    "googlenet": vision(lambda: zoo.googlenet(init_weights=True, aux_logits=False), 13),
    "densenet121": vision(zoo.densenet121, 12),
    "swin_t": vision(zoo.swin_t, 16, False),
    "convnext_tiny": vision(zoo.convnext_tiny, 17),
    "vit_b_16": vision(zoo.vit_b_16, 15, False),
    "unet": vision(UNet, 14, side=128),
    "unet_old": vision(UNet, 11, False, side=96),
    "lstm": Entry(lambda: Recurrent(nn.LSTM), lambda g, n: (sequences(g, n, 60, 40),), ("x",), 14,
                  ({0: "N", 1: "T"},)),
    "gru": Entry(lambda: Recurrent(nn.GRU), lambda g, n: (sequences(g, n, 60, 40),), ("x",), 13),
    "bert": Entry(Bert, lambda g, n: tokens(g, n, 48), ("input_ids", "attention_mask"), 13, TEXT),
    "bert_17": Entry(Bert, lambda g, n: tokens(g, n, 48), ("input_ids", "attention_mask"), 17,
                     TEXT),
    "bert_plain": Entry(Bert, lambda g, n: tokens(g, n, 48), ("input_ids", "attention_mask"), 12,
                        TEXT, {"do_constant_folding": False}),
    "gpt": Entry(Gpt, lambda g, n: tokens(g, n, 32)[:1], ("input_ids",), 14, TEXT[:1]),
}


# ---- exporting ----

def seed_of(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "little")


def save_samples(path, names, tensors):
    out = io.BytesIO()
    np.savez(out, **{name: t.numpy() for name, t in zip(names, tensors)})
    cache.write_atomically(path, out.getvalue())


def export(path, model, inputs, names, opset, dynamic=(), options=None):
    """One file; the nodes' names are what the exporter gives them."""
    out = io.BytesIO()
    axes = dict(zip(names, dynamic))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, inputs, out, input_names=list(names), opset_version=opset,
                          dynamic_axes=axes or None, **(options or {}))
    cache.write_atomically(path, out.getvalue())


def make(name, entry):
    torch.manual_seed(seed_of(name))
    generator = torch.Generator().manual_seed(seed_of(name))
    model = entry.build()
    awaken(model)
    end_branches(model)
    samples = entry.samples(generator, CALIBRATION + EVALUATION)
    model = settle(model, [t[:CALIBRATION] for t in samples])
    parts = {"calibration": slice(CALIBRATION), "evaluation": slice(CALIBRATION, None)}
    for part, rows in parts.items():
        save_samples(cache.place("torch", f"{name}_{part}.npz"), entry.names,
                     [t[rows] for t in samples])
    export(cache.place("torch", name + ".onnx"), model, tuple(t[:1] for t in samples), entry.names,
           entry.opset, entry.dynamic, entry.export)


def is_made(name):
    """Whether this very script has made the model before."""
    stamp = cache.place("torch", name + ".from")
    return os.path.exists(stamp) and open(stamp).read() == cache.sha256(__file__)


def main():
    names = sys.argv[1:] or list(ENTRIES)
    for name in names:
        if name not in ENTRIES:
            raise SystemExit(f"torch_models.py: no model {name}; there are {', '.join(ENTRIES)}")
        if not is_made(name):
            cache.say(f"exporting {name}")
            make(name, ENTRIES[name])
            cache.write_atomically(cache.place("torch", name + ".from"),
                                   cache.sha256(__file__).encode())


if __name__ == "__main__":
    main()
