#!/usr/bin/python3
"""Trains models/fashion_mnist.onnx and writes the two data files that stand beside it.

Network: x [N,1,28,28] -> logits [N,10]; a 3x3 stem, one dense residual block, then inverted
residual blocks (1x1 expand, 3x3 depthwise, 1x1 project), global average pooling, one Gemm.
About 98 k parameters. Every Conv is followed by a BatchNormalization that the export leaves in
place, so that folding it is part of the work that the model is a test for.

Needs the Debian packages python3-torch and dataset-fashion-mnist; a few minutes on two cores.
Seeds are fixed; another version of torch or another CPU still rounds differently, so a new run
gives a model of the same quality and not the same bytes.
"""
import argparse
import gzip
import math
import os
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD = 0.2860, 0.3530          # of the training images' pixels in [0,1]
CALIBRATION_IMAGES = 256
TEST_IMAGES = 2500
OPSET = 17


def read_idx(path):
    """An IDX file of bytes (2 zero bytes, type 8, rank, big-endian dims, data) as an array."""
    with gzip.open(path, "rb") as f:
        head = f.read(4)
        if head[:3] != b"\0\0\x08":
            raise SystemExit(f"{path}: not an IDX file of bytes")
        shape = [int.from_bytes(f.read(4), "big") for _ in range(head[3])]
        return np.frombuffer(f.read(), np.uint8).reshape(shape)


def load_set(folder, part):
    """(images uint8 [n,28,28], labels uint8 [n]) of `train` or `t10k`."""
    images, labels = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    return read_idx(os.path.join(folder, images)), read_idx(os.path.join(folder, labels))


def normalise(images):
    """uint8 [n,28,28] -> float32 [n,1,28,28] as the network expects it."""
    x = images[:, None].astype(np.float32) / np.float32(255)
    return (x - np.float32(MEAN)) / np.float32(STD)


def conv_bn(c_in, c_out, kernel, stride=1, groups=1):
    return [nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(c_out)]


class Residual(nn.Module):
    """relu(x + body(x)); the body keeps the shape."""

    def __init__(self, *body):
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x):
        return F.relu(x + self.body(x))


def dense_block(c):
    return Residual(*conv_bn(c, c, 3), nn.ReLU(), *conv_bn(c, c, 3))


def inverted_block(c, expand):
    m = c * expand
    return Residual(*conv_bn(c, m, 1), nn.ReLU(), *conv_bn(m, m, 3, groups=m), nn.ReLU(),
                    *conv_bn(m, c, 1))


class FashionNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *conv_bn(1, 24, 3), nn.ReLU(),                                       # 28 x 28
            *conv_bn(24, 40, 3, stride=2), nn.ReLU(),                            # 14 x 14
            dense_block(40), inverted_block(40, 2), inverted_block(40, 2),
            *conv_bn(40, 40, 3, stride=2, groups=40), *conv_bn(40, 96, 1), nn.ReLU(),   # 7 x 7
            inverted_block(96, 1), inverted_block(96, 1))
        self.classifier = nn.Linear(96, 10)

    def forward(self, x):
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


def augment(x, generator):
    """A random shift by up to two pixels for the whole batch, and a mirror for each image."""
    dy, dx = torch.randint(0, 5, (2,), generator=generator).tolist()
    padded = F.pad(x, (2, 2, 2, 2), value=-MEAN / STD)
    x = padded[:, :, dy:dy + 28, dx:dx + 28]
    flip = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    return torch.where(flip, x.flip(3), x)


def learning_rate(step, steps, top=0.01):
    """A linear warm-up over a fifth of the steps, then half a cosine down to zero."""
    warm = 0.2 * steps
    if step < warm:
        return top * (0.05 + 0.95 * step / warm)
    return top * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def top1(model, x, y, batch=500):
    model.eval()
    with torch.no_grad():
        hits = sum((model(x[i:i + batch]).argmax(1) == y[i:i + batch]).sum().item()
                   for i in range(0, len(x), batch))
    return hits / len(x)


def train(model, x, y, epochs, batch):
    generator = torch.Generator().manual_seed(7)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.02)
    steps, step, start = epochs * (len(x) // batch), 0, time.time()
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(x), generator=generator)
        for i in range(0, len(x) - batch + 1, batch):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps)
            pick = order[i:i + batch]
            loss = F.cross_entropy(model(augment(x[pick], generator)), y[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
            if step % 50 == 0:
                print(f"epoch {epoch + 1} step {step}/{steps} loss {loss.item():.4f} "
                      f"{time.time() - start:.0f} s", flush=True)


def export(model, path):
    """In eval mode, and with BatchNormalization as a node: PRESERVE keeps torch from folding it."""
    model.eval()
    torch.onnx.export(model, torch.zeros(1, 1, 28, 28), path, opset_version=OPSET,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["input"], output_names=["logits"],
                      dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})


def balanced(labels, count, seed):
    """Indices of `count` items with the classes as equal as they can be, in a shuffled order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        ranks[mine] = np.arange(len(mine))
    return order[np.argsort(ranks[order], kind="stable")][:count]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--out", default=here)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(20)
    train_images, train_labels = load_set(args.data, "train")
    test_images, test_labels = load_set(args.data, "t10k")

    model = FashionNet()
    print("parameters", sum(p.numel() for p in model.parameters()))
    train(model, torch.from_numpy(normalise(train_images)),
          torch.from_numpy(train_labels.astype(np.int64)), args.epochs, batch=125)

    x, y = torch.from_numpy(normalise(test_images)), torch.from_numpy(test_labels.astype(np.int64))
    print(f"top-1 on all {len(x)} test images: {top1(model, x, y):.4f}")
    written = top1(model, x[:TEST_IMAGES], y[:TEST_IMAGES])
    print(f"top-1 on the {TEST_IMAGES} written: {written:.4f}")

    export(model, os.path.join(args.out, "fashion_mnist.onnx"))
    chosen = balanced(train_labels, CALIBRATION_IMAGES, seed=1)
    np.savez_compressed(os.path.join(args.out, "fashion_mnist_calibration.npz"),
                        input=normalise(train_images[chosen]))
    np.savez_compressed(os.path.join(args.out, "fashion_mnist_test.npz"),
                        input=normalise(test_images[:TEST_IMAGES]),
                        labels=test_labels[:TEST_IMAGES].astype(np.int64))


if __name__ == "__main__":
    main()
