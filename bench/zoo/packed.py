"""Weights in 4 bits: onnxpress's w4 beside ONNX Runtime's own quantisers of MatMul weights.

    bench/w4-test [--speed] [NAME...]

For each model and block of 32 and 128: bytes of the file, SQNR and score on the evaluation set, and
the seconds that making it took, of ours on the same MatMuls alone, of `default` (round to nearest),
k_quant, GPTQ and HQQ (where torch is there: both import it). The peer's module also needs onnx_ir.
Then ours on all weights in 4 and 3 bits. Ours has to be above each peer in SQNR, at no more bytes.
`--speed` adds float time over ours.
"""
import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization import matmul_nbits_quantizer as nbits

import measure

import ort_tools  # noqa: E402  (measure.py put its folder on the path)

COMMAND = os.environ.get("ONNXPRESS", "build/onnxpress")
PEERED = ("minilm_l3", "ppocr_rec")
MODELS = PEERED + ("ppocr_det", "embedding_model", "fashion_mnist")
PEERS = ("default", "k_quant", "gptq", "hqq")
SAMPLES = 64                # that the peer's GPTQ reads, as ours does at most


class Reader(CalibrationDataReader):
    def __init__(self, subject):
        arrays, _ = ort_tools.load_data(subject.calibration)
        rows = []
        for row in ort_tools.samples(subject.session, arrays):
            rows.append(row)
            if len(rows) == SAMPLES:
                break
        self.rows = iter(rows)

    def get_next(self):
        return next(self.rows, None)


def settings(kind, subject, block):
    if kind == "gptq":
        return nbits.GPTQWeightOnlyQuantConfig(Reader(subject), block_size=block)
    if kind == "hqq":
        return nbits.HQQWeightOnlyQuantConfig(block_size=block, bits=4)
    if kind == "k_quant":
        return nbits.KQuantWeightOnlyQuantConfig()
    return nbits.DefaultWeightOnlyQuantConfig(block_size=block, is_symmetric=True, bits=4)


def with_initializers(model):
    """The peer sees weights that are initializers alone: Constant nodes become some."""
    nodes = [n for n in model.graph.node
             if n.op_type == "Constant" and n.attribute[0].name == "value"]
    for node in nodes:
        tensor = node.attribute[0].t
        tensor.name = node.output[0]
        model.graph.initializer.append(tensor)
        model.graph.node.remove(node)
    return model


def peer(kind, subject, block, out):
    """Seconds."""
    start = time.time()
    made = nbits.MatMulNBitsQuantizer(with_initializers(onnx.load(subject.model)),
                                      block_size=block, is_symmetric=True,
                                      algo_config=settings(kind, subject, block))
    with contextlib.redirect_stdout(io.StringIO()):     # its progress bar
        made.process()
    if not any(node.op_type == "MatMulNBits" for node in made.model.model.graph.node):
        raise ValueError("nothing is quantised in its file")
    made.model.save_model_to_file(out, False)
    return time.time() - start


def ours(subject, out, *flags):
    """Seconds."""
    start = time.time()
    subprocess.run([COMMAND, "compress", subject.model, "-o", out, "--force", "--precision", "w4",
                    "--data", subject.calibration, "--min-sqnr", "0", *flags],
                   check=True, capture_output=True)
    return time.time() - start


def line(subject, what, made, seconds, speed):
    figures = subject.figures(made)
    ratio = f"{subject.speed(made)[0]:6.2f}" if speed else ""
    print(f"{subject.name:16} {what:26} {figures['bytes']:>11,} {figures['sqnr_db']:7.2f} dB "
          f"{figures['score']:7.4f} {seconds:6.1f} s {ratio}", flush=True)
    return figures


def beside_peers(subject, block, folder, speed):
    """Checks that were made, and those that failed."""
    made, failed, out = 0, [], os.path.join(folder, "w4.onnx")
    seconds = ours(subject, out, "--op-types", "MatMul", "--block-size", str(block))
    own = line(subject, f"w4 MatMul block {block}", out, seconds, speed)
    for kind in PEERS:
        try:
            seconds = peer(kind, subject, block, out)
            other = line(subject, f"{kind} block {block}", out, seconds, speed)
        except Exception as error:
            print(f"{subject.name:16} {kind} block {block}: {' '.join(str(error).split())[:70]}")
            continue
        made += 1
        if own["sqnr_db"] <= other["sqnr_db"] or own["bytes"] > other["bytes"]:
            failed.append(f"{subject.name}: w4 is not above {kind} at block {block}")
    return made, failed


def main(arguments):
    speed = "--speed" in arguments
    names = [a for a in arguments if not a.startswith("-")] or MODELS
    failed, count = [], 0
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "w4.onnx")
        for subject in map(measure.Subject, names):
            for block in (32, 128) if subject.name in PEERED else ():
                made, fell = beside_peers(subject, block, folder, speed)
                count, failed = count + made, failed + fell
            for bits in ("4", "3"):
                seconds = ours(subject, out, "--bits", bits)
                line(subject, f"w4 all weights, {bits} bits", out, seconds, speed)
    for text in failed:
        print(f"FAIL {text}")
    print(f"{count - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    logging.disable(logging.INFO)
    sys.exit(main(sys.argv[1:]))
