"""Spearman's rank correlation of scores with the measured loss of rounding one weight at a time.

    ranking.py [NAME ...]

Per model and width, over all weights that a gradient reaches: the predicted loss 1/2 mean (g d)^2,
the trace of the Fisher information, |d|^2, and numbers drawn at random (mean of |rho| over 200
draws) against the loss that `sensitivity --measure` finds by running the model so changed. The
predicted loss must reach 0.9. Also printed: measured over predicted loss, the median. Standard
library only.
"""
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "zoo"))
import cache    # noqa: E402

ONNXPRESS = os.environ["ONNXPRESS"]
LEAST = 0.9
WIDTHS = ("bits=4,method=rtn", "bits=3,method=rtn")
DRAWS = 200
CASES = {       # what is run: the model, and what its outputs are where the graph does not say
    "fashion_mnist": ("fashion_mnist", []),
    "ppocr_cls": ("ppocr_cls", []),
    "ppocr_rec": ("ppocr_rec", []),
    "minilm_l3": ("minilm_l3", []),
    "minilm_l3_embedding": ("minilm_l3", ["--outputs", "461", "--output-kind", "embedding"]),
}


def ranks(values):
    """Places from 0 on; equal values share their mean place."""
    order = sorted(range(len(values)), key=values.__getitem__)
    places, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for i in order[start:end]:
            places[i] = (start + end - 1) / 2
        start = end
    return places


def spearman(a, b):
    a, b = ranks(a), ranks(b)
    return statistics.correlation(a, b)


def at_random(measured):
    source = random.Random(0)
    return statistics.mean(abs(spearman([source.random() for _ in measured], measured))
                           for _ in range(DRAWS))


def sensitivity(name, flags, folder):
    out = os.path.join(folder, "sensitivity.json")
    subprocess.run([ONNXPRESS, "sensitivity", cache.model_path(name), "--data",
                    cache.data_path(name, "calibration"), "--measure", "--json", out, "--force",
                    "-q", *flags], check=True)
    with open(out, encoding="utf-8") as f:
        return json.load(f)


def row_of(weights, width):
    """(weights, predicted, trace, |d|^2, random, median of measured over predicted)."""
    found = [(next(c for c in w["candidates"] if c["parameters"] == width), w) for w in weights]
    found = [(c, w) for c, w in found if "predicted_loss" in c]
    measured = [c["measured_loss"] for c, _ in found]
    return (len(found),
            spearman([c["predicted_loss"] for c, _ in found], measured),
            spearman([w["fisher_trace"]["value"] for _, w in found], measured),
            spearman([c["perturbation_norm"] ** 2 for c, _ in found], measured),
            at_random(measured),
            statistics.median(m / c["predicted_loss"]
                              for (c, _), m in zip(found, measured) if c["predicted_loss"] > 0))


def main():
    names = sys.argv[1:] or list(CASES)
    if unknown := [n for n in names if n not in CASES]:
        raise SystemExit(f"no case {unknown[0]}; there are {', '.join(CASES)}")
    wanted = sorted({CASES[n][0] for n in names})
    subprocess.run([sys.executable, os.path.join(os.path.dirname(HERE), "zoo", "fetch.py"),
                    *wanted], check=True, stdout=subprocess.DEVNULL)
    failed = rows = 0
    print(f"     {'':20} {'output':11} {'samples':>7} {'bits':>4} {'weights':>7} {'predicted':>9} "
          f"{'tr F':>6} {'|d|^2':>6} {'random':>6} {'measured/predicted':>18}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            model, flags = CASES[name]
            report = sensitivity(model, flags, folder)
            for width in WIDTHS:
                count, predicted, trace, size, chance, ratio = row_of(report["weights"], width)
                good = count > 2 and predicted >= LEAST
                rows += 1
                failed += not good
                print(f"{'PASS' if good else 'FAIL'} {name:20} {report['output_kind']:11} "
                      f"{report['samples']:7} {width[5]:>4} {count:7} {predicted:9.3f} "
                      f"{trace:6.3f} {size:6.3f} {chance:6.3f} {ratio:18.2f}", flush=True)
    print(f"{rows - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
