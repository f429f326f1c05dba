"""What each model of the zoo is for, as one number from its outputs: 1 is best.

A score is a function of the subject (measure.py: reference outputs, labels, data) and the outputs
to judge. Where nothing is labelled it is the agreement with the float model, which then has 1.
"""
import numpy as np

import cache
import common
import ocr
import text


def top1(subject, outputs):
    """Top-1 accuracy on the labels of the evaluation set."""
    return np.mean(outputs[subject.entry["judge"][0]].argmax(-1) == subject.labels)


def exact_lines(subject, outputs):
    """The share of lines read without an error."""
    lines = ocr.decode(outputs[subject.entry["judge"][0]], ocr.alphabet())
    texts = common.load_json(subject.name, common.EVALUATION)
    return np.mean([a == b for a, b in zip(lines, texts)])


def probe(subject, outputs):
    """Spam or ham, by the ridge probe that is fitted on float embeddings of other e-mails."""
    with np.load(cache.data_path(subject.name, "probe")) as kept:
        weights = text.fit_probe(kept["embeddings"], kept["labels"])
        return text.probe_accuracy(weights, outputs[text.SENTENCE], kept["test_labels"])


def cosine(subject, outputs):
    """Mean cosine between each embedding and the float model's."""
    name = subject.entry["judge"][0]
    a, b = (o[name].reshape(len(o[name]), -1).astype(np.float64)
            for o in (subject.reference, outputs))
    return np.mean((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def same_decision(subject, outputs):
    """The share of chunks that are speech, or are not, as the float model has it."""
    return np.mean((outputs["output"] > 0.5) == (subject.reference["output"] > 0.5))


def overlap(a, b):
    """Intersection over union of two masks; 1 when both are empty."""
    union = np.sum(a | b)
    return np.sum(a & b) / union if union else 1.0


def same_faces(subject, outputs):
    """Intersection over union of the anchors where a face is found (a logit above 0)."""
    names = ("Identity:0", "Identity_1:0")
    return overlap(*[np.concatenate([o[n].ravel() for n in names]) > 0
                     for o in (subject.reference, outputs)])


def same_text_map(subject, outputs):
    """Intersection over union of the text maps, cut at 0.3 as PaddleOCR does."""
    name = subject.entry["judge"][0]
    return overlap(subject.reference[name] > 0.3, outputs[name] > 0.3)


SCORES = {
    "fashion_mnist": top1, "ppocr_cls": top1, "ppocr_rec": exact_lines, "ppocr_det": same_text_map,
    "minilm_l3": probe, "embedding_model": cosine, "blazeface_back": same_faces,
    "silero_vad_legacy": same_decision,
}
