"""Quality, bytes, speed of a compressed model beside its float one: ONNX Runtime, one thread.

Quality: SQNR of each judged output over the whole evaluation set, run sample by sample; the least
of them is the model's figure. Score: what the model is for (scores.py), 1 is best.
Speed: float time over the other's time, each pair run right after the other and alternately first,
the median over the pairs; above 1 is faster than float.
"""
import os
import statistics
import sys
import time

import numpy as np

import cache
import scores

sys.path.insert(0, cache.ORACLE)
import ort_tools  # noqa: E402


class Subject:
    """A model of the zoo with its evaluation data and its float outputs."""

    def __init__(self, name):
        self.name, self.entry = name, cache.zoo()["models"][name]
        self.model = cache.model_path(name)
        self.calibration = cache.data_path(name, "calibration")
        self.evaluation = cache.data_path(name, "evaluation")
        self.arrays, self.labels = ort_tools.load_data(self.evaluation)
        self.session = ort_tools.session(self.model)
        self.reference = ort_tools.run(self.session, self.arrays)

    def outputs_of(self, path):
        return ort_tools.run(ort_tools.session(path), self.arrays)

    def sqnr(self, outputs):
        """{judged output: dB}."""
        return {n: ort_tools.sqnr_db(self.reference[n], outputs[n]) for n in self.entry["judge"]}

    def figures(self, path):
        """bytes, least SQNR, SQNR of each output, score."""
        outputs = self.outputs_of(path)
        sqnr = self.sqnr(outputs)
        return {"bytes": os.path.getsize(path), "sqnr_db": min(sqnr.values()), "outputs": sqnr,
                "score": float(scores.SCORES[self.name](self, outputs))}

    def feed(self):
        """The first samples, as many at once as zoo.json's latency_batch says."""
        inputs, count = self.session.get_inputs(), self.entry["latency_batch"]
        symbol, rows = ort_tools.batch_symbol(inputs), []
        for row in ort_tools.samples(self.session, self.arrays):
            rows.append(row)
            if len(rows) == count:
                break
        def join(value):
            axis = ort_tools.batch_axis(value, symbol)
            parts = [row[value.name] for row in rows]
            return parts[0] if axis is None else np.concatenate(parts, axis)
        return {value.name: join(value) for value in inputs}

    def speed(self, path, seconds=4.0):
        """How many times faster than float; the float time in milliseconds."""
        return speed(self.session, ort_tools.session(path), self.feed(), seconds)


def timed(session, feed, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        session.run(None, feed)
    return (time.perf_counter() - start) / repeats


def speed(first, second, feed, seconds):
    """(median of first's time over second's, median of first's time in ms)."""
    for session in (first, second):
        timed(session, feed, 3)
    once = max(timed(first, feed, 3), 1e-6)
    repeats = max(1, int(0.002 / once))
    ratios, times, end = [], [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(ratios) < 11:
        order = (first, second) if len(ratios) % 2 == 0 else (second, first)
        spent = {id(session): timed(session, feed, repeats) for session in order}
        ratios.append(spent[id(first)] / spent[id(second)])
        times.append(spent[id(first)])
    return statistics.median(ratios), 1000 * statistics.median(times)
