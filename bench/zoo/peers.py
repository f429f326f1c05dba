"""What ONNX Runtime's own quantiser makes of a model, with all the help that it can be given.

    peers.py MODEL.onnx CALIBRATION.npz OUT.onnx METHOD       (MinMax, Percentile, Entropy)

quantize_static in QDQ form, weights per channel, activations u8 (its default, s8, stays float
behind every tensor with two readers and is slower still), the rest as its makers chose it. First
comes the help without which it refuses or spoils half of the zoo: Constant nodes made initializers,
the opset raised to 17, the simplifier, its own pre-processing (without symbolic shapes where that
fails). A process of its own for each file: calibration by histograms takes gigabytes.
"""
import os
import sys
import tempfile

import onnx
import onnxsim
from onnx import numpy_helper, version_converter
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

import cache

sys.path.insert(0, cache.ORACLE)
import ort_tools  # noqa: E402

OPSET = 17
METHODS = ("MinMax", "Percentile", "Entropy")


def opset(model):
    return next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


def constants_to_initializers(model):
    """Every Constant node of the main graph that holds a tensor becomes an initializer."""
    graph, kept = model.graph, []
    for node in graph.node:
        values = [a.t for a in node.attribute if a.name == "value"]
        if node.op_type == "Constant" and values:
            tensor = numpy_helper.from_array(numpy_helper.to_array(values[0]), node.output[0])
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    model.ir_version = max(model.ir_version, 8)     # initializers need not be inputs from 4 on
    return model


def prepared(path, folder):
    """The path of the model with all the help; what helps and what had to be left out."""
    model, left_out = constants_to_initializers(onnx.load(path)), []
    if opset(model) < OPSET:
        model = version_converter.convert_version(model, OPSET)
    model, simplified = onnxsim.simplify(model)
    if not simplified:
        left_out.append("the simplifier's own check failed")
    simple, ready = os.path.join(folder, "simple.onnx"), os.path.join(folder, "ready.onnx")
    onnx.save(model, simple)
    try:
        quant_pre_process(simple, ready)
    except Exception as error:
        left_out.append(f"symbolic shapes ({type(error).__name__})")
        quant_pre_process(simple, ready, skip_symbolic_shape=True)
    return ready, left_out


class Reader(quantization.CalibrationDataReader):
    """The calibration samples one after the other."""

    def __init__(self, model, data):
        arrays, _ = ort_tools.load_data(data)
        self.feeds = ort_tools.samples(ort_tools.session(model), arrays)

    def get_next(self):
        return next(self.feeds, None)


def quantise(model, data, out, method):
    with tempfile.TemporaryDirectory() as folder:
        ready, left_out = prepared(model, folder)
        quantization.quantize_static(
            ready, out, Reader(ready, data), quant_format=quantization.QuantFormat.QDQ,
            per_channel=True, activation_type=quantization.QuantType.QUInt8,
            calibrate_method=getattr(quantization.CalibrationMethod, method))
    return left_out


def main():
    model, data, out, method = sys.argv[1:]
    for what in quantise(model, data, out, method):
        cache.say(f"{os.path.basename(model)} {method}: without {what}")


if __name__ == "__main__":
    main()
