"""Rendered text lines for PP-OCR's two line models, with exact labels.

cls: x [N,3,48,192], label 0 upright, 1 turned by 180 degrees.
rec: x [N,3,48,320], the text of each line beside it in NAME_evaluation.json.
Both as PaddleOCR feeds them: BGR, scaled to height 48 with the ratio kept (never wider than the
frame), (v/255 - 0.5)/0.5, the rest of the frame zero. The lines are cropped to three pixels, and
are hard (small type, blur, noise, low contrast), so that the float model is near 95 % and not at
100 %, where damage would not show.
"""
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import cache
import common
from common import CALIBRATION, EVALUATION


def colours(r, contrast):
    """Paper and ink: two colours whose grey values are at least `contrast` apart."""
    while True:
        paper, ink = r.integers(0, 256, 3), r.integers(0, 256, 3)
        if abs(int(paper.mean()) - int(ink.mean())) >= contrast:
            return tuple(map(int, paper)), tuple(map(int, ink))


def render(r, text, sizes, contrast):
    """One line of text as a picture, cropped to its ink and three pixels around it."""
    font = common.random_font(r, *sizes)
    paper, ink = colours(r, contrast)
    left, top, right, bottom = font.getbbox(text)
    line = Image.new("RGB", (right - left + 14, bottom - top + 14), paper)
    ImageDraw.Draw(line).text((7 - left, 7 - top), text, ink, font)
    if r.random() < 0.6:
        line = line.rotate(r.uniform(-2, 2), Image.Resampling.BICUBIC, fillcolor=paper)
    line = line.crop((4, 4, line.width - 4, line.height - 4))
    if r.random() < 0.5:
        line = line.filter(ImageFilter.GaussianBlur(r.uniform(0.2, 0.9)))
    return Image.fromarray(common.noisy(r, np.asarray(line, np.float32), 0, 22).astype(np.uint8))


def frame(line, width):
    """A picture as the network's input, [3,48,width]."""
    scaled = min(width, max(1, int(np.ceil(48 * line.width / line.height))))
    pixels = np.asarray(line.resize((scaled, 48), Image.Resampling.BILINEAR), np.float32)
    x = np.zeros((3, 48, width), np.float32)
    x[:, :, :scaled] = (pixels[:, :, ::-1].transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return x


def cls_set(name, part, count):
    x, labels = np.empty((count, 3, 48, 192), np.float32), np.arange(count, dtype=np.int64) % 2
    for i in range(count):
        r = common.rng(name, part, i)
        line = render(r, common.phrase(r, 4, 16), (11, 30), 40)
        x[i] = frame(line.rotate(180) if labels[i] else line, 192)
    common.save(name, part, x=x, labels=labels)
    return x, labels


def build_cls(name):
    cls_set(name, CALIBRATION, 64)
    x, labels = cls_set(name, EVALUATION, 512)
    found = common.session(cache.model_path(name)).run(None, {"x": x})[0].argmax(1)
    print(f"{name}: float top-1 {np.mean(found == labels):.4f} of {len(x)}")


def rec_set(name, part, count):
    x, texts = np.empty((count, 3, 48, 320), np.float32), []
    for i in range(count):
        r = common.rng(name, part, i)
        texts.append(common.phrase(r, 6, 26))
        x[i] = frame(render(r, texts[-1], (12, 32), 60), 320)
    common.save(name, part, x=x)
    common.save_json(name, part, texts)
    return x, texts


def alphabet():
    keys = cache.one_member("ocr", "package/assets/ppocr_keys_v1.txt").decode().splitlines()
    return ["", *keys, " "]


def decode(scores, letters):
    """Greedy CTC: the best class of each step, repeats joined, blanks (class 0) left out."""
    lines = []
    for best in scores.argmax(2):
        kept = best[np.concatenate(([True], best[1:] != best[:-1]))]
        lines.append("".join(letters[k] for k in kept if k != 0).strip())
    return lines


def build_rec(name):
    rec_set(name, CALIBRATION, 64)
    x, texts = rec_set(name, EVALUATION, 192)
    session, letters = common.session(cache.model_path(name)), alphabet()
    found = [line for i in range(0, len(x), 16)
             for line in decode(session.run(None, {"x": x[i:i + 16]})[0], letters)]
    exact = np.mean([a == b for a, b in zip(found, texts)])
    print(f"{name}: float exact lines {exact:.4f} of {len(x)}")
