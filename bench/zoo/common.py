"""What the data builders share: keyed random numbers, text to render, fonts, pictures, .npz."""
import functools
import hashlib
import io
import json
import re

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageFont

import cache

CALIBRATION, EVALUATION = "calibration", "evaluation"


def rng(*key):
    """A generator that depends on the words given and on nothing else."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def session(path):
    """ONNX Runtime over a model, two threads, quiet."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def save(name, part, **arrays):
    """Writes one data file; keys are input names and `labels`."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    cache.write_atomically(cache.data_path(name, part), out.getvalue())


def save_json(name, part, value):
    text = json.dumps(value, ensure_ascii=False, indent=0)
    cache.write_atomically(cache.data_path(name, part, ".json"), text.encode())


def load_json(name, part):
    with open(cache.data_path(name, part, ".json"), encoding="utf-8") as f:
        return json.load(f)


@functools.lru_cache(maxsize=1)
def mails():
    """[(text, is_spam)] of the SpamAssassin corpus: the subject and the body, no other header (the
    others name the mailing list), HTML tags left out; sorted by file name."""
    found = members_sorted("mails", r"package/data/[a-z]+[-a-z0-9]*/[^/]+\.json")
    result = []
    for name, data in found:
        text = json.loads(data)["text"]
        head, _, body = text.partition("\n\n")
        subject = re.search(r"^Subject: *(.*)$", head, re.MULTILINE)
        body = re.sub(r"<[^>]{0,2000}>|&[a-z]+;", " ", body)
        plain = re.sub(r"\s+", " ", (subject.group(1) if subject else "") + ". " + body).strip()
        result.append((plain, "/spam-" in name))
    return result


def members_sorted(key, pattern):
    return sorted(cache.members(key, pattern).items())


@functools.lru_cache(maxsize=1)
def words():
    """English words as people write them in e-mails, sorted; each is in at least three mails."""
    seen = {}
    for text, _ in mails()[:2000]:
        for word in set(re.findall(r"\b[A-Za-z][a-z]{1,10}\b", text[:2000])):
            seen[word] = seen.get(word, 0) + 1
    return sorted(word for word, count in seen.items() if count >= 3)


@functools.lru_cache(maxsize=1)
def font_files():
    """The upright faces of DejaVu, as bytes: sans, serif, mono, condensed, each plain and bold."""
    pattern = r"package/ttf/DejaVu(Sans|Serif|SansMono|SansCondensed|SerifCondensed)(-Bold)?\.ttf"
    return [data for _, data in members_sorted("fonts", pattern)]


@functools.lru_cache(maxsize=None)
def font(index, size):
    return ImageFont.truetype(io.BytesIO(font_files()[index]), size)


def random_font(r, low, high):
    return font(int(r.integers(len(font_files()))), int(r.integers(low, high + 1)))


def phrase(r, low, high):
    """Words, numbers and a little punctuation, between `low` and `high` characters."""
    wanted, text = int(r.integers(low, high + 1)), ""
    while len(text) < wanted:
        kind = r.random()
        if kind < 0.75:
            token = words()[r.integers(len(words()))]
        elif kind < 0.93:
            token = str(r.integers(10 ** int(r.integers(1, 5))))
        else:
            token = f"{r.integers(100)}{r.choice(list('.:-/'))}{r.integers(10, 100)}"
        text = f"{text} {token}".strip()
    return text[:wanted].strip()


@functools.lru_cache(maxsize=1)
def photos():
    """{name: RGB picture} of everything photographic that the packages ship."""
    found = cache.members("photos", r"skimage/data/[a-z_]+\.(png|jpg)")
    found.update(cache.members("faces", r"package/demo/sample[0-9]\.jpg"))
    return {name.rsplit("/", 1)[1]: Image.open(io.BytesIO(data)).convert("RGB")
            for name, data in found.items()}


def noisy(r, pixels, low, high):
    """float32 pixels 0..255 with Gaussian noise of a random strength, cut to range."""
    sigma = r.uniform(low, high)
    noise = r.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.float32)
