"""Photos for the two detectors. Calibration and evaluation use different photos.

blazeface: input:0 [N,256,256,3], RGB in [-1,1], as MediaPipe's face detector is fed.
det: x [N,3,480,480], BGR, (v/255 - mean)/std with ImageNet's figures in that order, as PaddleOCR
feeds it: rendered pages of text, and photos with text laid over them.
Neither has labels: they are judged by agreement with the float model.
"""
import numpy as np
from PIL import Image, ImageDraw

import cache
import common
from common import CALIBRATION, EVALUATION

FACES = {CALIBRATION: ["sample1.jpg", "sample3.jpg", "sample5.jpg"],
         EVALUATION: ["sample2.jpg", "sample4.jpg", "sample6.jpg", "astronaut.png"]}
OTHERS = {CALIBRATION: ["chelsea.png", "coffee.png", "brick.png", "moon.png", "coins.png",
                        "motorcycle_left.png", "motorcycle_right.png", "clock_motion.png"],
          EVALUATION: ["rocket.jpg", "camera.png", "grass.png", "gravel.png", "ihc.png",
                       "retina.jpg", "hubble_deep_field.jpg", "page.png"]}


def pick_photo(r, part, faces):
    """A photo of the part; one with faces with the probability given."""
    names = FACES[part] if r.random() < faces else OTHERS[part]
    return common.photos()[names[r.integers(len(names))]]


def crop(r, photo, side, smallest):
    """A random square out of a photo, between `smallest` and all of its short side, scaled to
    `side`, mirrored half of the time, its brightness and contrast changed a little."""
    extent = int(min(photo.size) * r.uniform(smallest, 1.0))
    left = int(r.integers(photo.width - extent + 1))
    top = int(r.integers((photo.height - extent) // 2 + 1))
    square = photo.crop((left, top, left + extent, top + extent))
    square = square.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(square, np.float32)
    if r.random() < 0.5:
        pixels = pixels[:, ::-1]
    pixels = pixels * np.float32(r.uniform(0.7, 1.2)) + np.float32(r.uniform(-20, 20))
    return common.noisy(r, pixels, 0, 4)


def blazeface_set(name, part, count):
    x = np.empty((count, 256, 256, 3), np.float32)
    for i in range(count):
        r = common.rng(name, part, i)
        x[i] = crop(r, pick_photo(r, part, faces=0.75), 256, 0.35) / np.float32(127.5) - 1
    common.save(name, part, **{"input:0": x})
    return x


def build_blazeface(name):
    blazeface_set(name, CALIBRATION, 64)
    x = blazeface_set(name, EVALUATION, 128)
    session = common.session(cache.model_path(name))
    scores = [session.run(["Identity:0", "Identity_1:0"], {"input:0": image[None]}) for image in x]
    best = np.array([max(a.max(), b.max()) for a, b in scores])
    print(f"{name}: a face in {np.mean(best > 0):.2f} of {len(x)} crops")


def write_text(r, page, lines):
    """Lays lines of text of random size, place and colour over a picture."""
    draw = ImageDraw.Draw(page)
    for _ in range(lines):
        font = common.random_font(r, 12, 40)
        place = (int(r.integers(page.width)) - 40, int(r.integers(page.height)))
        draw.text(place, common.phrase(r, 4, 30), tuple(map(int, r.integers(0, 256, 3))), font)


def det_picture(r, part):
    if r.random() < 0.5:
        paper = tuple(map(int, r.integers(170, 256, 3)))
        page = Image.new("RGB", (480, 480), paper)
    else:
        page = Image.fromarray(crop(r, pick_photo(r, part, 0.3), 480, 0.5).astype(np.uint8))
    write_text(r, page, int(r.integers(4, 16)))
    return common.noisy(r, np.asarray(page, np.float32), 0, 8)


def det_set(name, part, count):
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    x = np.empty((count, 3, 480, 480), np.float32)
    for i in range(count):
        pixels = det_picture(common.rng(name, part, i), part)[:, :, ::-1]
        x[i] = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
    common.save(name, part, x=x)
    return x


def build_det(name):
    det_set(name, CALIBRATION, 16)
    x = det_set(name, EVALUATION, 16)
    session = common.session(cache.model_path(name))
    mask = np.stack([session.run(None, {"x": page[None]})[0][0, 0] for page in x]) > 0.3
    print(f"{name}: text covers {mask.mean():.3f} of {len(x)} pictures")


def overlap(a, b):
    """Intersection over union of two masks; 1 when both are empty."""
    union = np.sum(a | b)
    return np.sum(a & b) / union if union else 1.0
