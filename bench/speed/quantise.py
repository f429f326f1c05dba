"""ONNX Runtime's quantize_static on one model, timed: the process that speed.py measures.

    quantise.py MODEL.onnx SAMPLES.npy COUNT OUT.onnx METHOD     (MinMax, Entropy, Percentile)

Prints the seconds of the call alone: importing Python's packages and mapping the samples are not
counted. QDQ form, weights per channel, activations u8, as in bench/zoo/peers.py; the model needs no
pre-processing (BatchNormalization was folded by the exporter).
"""
import sys
import time

import numpy as np
from onnxruntime import quantization


class Reader(quantization.CalibrationDataReader):
    def __init__(self, samples):
        self.feeds = iter({"input": row[None]} for row in samples)

    def get_next(self):
        return next(self.feeds, None)


def main():
    model, samples, count, out, method = sys.argv[1:]
    reader = Reader(np.load(samples, mmap_mode="r")[:int(count)])
    start = time.perf_counter()
    quantization.quantize_static(
        model, out, reader, quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        calibrate_method=getattr(quantization.CalibrationMethod, method))
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
