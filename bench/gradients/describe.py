"""Turns an ONNX file into what torch_gradients.py reads without the onnx package.

    describe.py MODEL.onnx OUT.json OUT.npz

A graph is {inputs, outputs, tensors: {value: key of the .npz}, nodes: [{op, inputs, outputs,
attributes}]}; Constant nodes are tensors, tensor attributes {"tensor": key}, bodies graphs.
"""
import json
import sys

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper


class Description:
    def __init__(self):
        self.arrays = {}

    def keep(self, tensor):
        key = f"t{len(self.arrays)}"
        self.arrays[key] = numpy_helper.to_array(tensor)
        return key

    def attribute(self, a):
        if a.type == AttributeProto.GRAPH:
            return self.graph(a.g)
        if a.type == AttributeProto.TENSOR:
            return {"tensor": self.keep(a.t)}
        value = helper.get_attribute_value(a)
        if isinstance(value, bytes):
            return value.decode()
        return list(value) if a.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value

    def constant(self, node):
        a = node.attribute[0]
        if a.name == "value":
            return self.keep(a.t)
        value = np.asarray(helper.get_attribute_value(a))
        kind = np.float32 if value.dtype.kind == "f" else np.int64
        return self.keep(numpy_helper.from_array(value.astype(kind)))

    def graph(self, g):
        tensors = {t.name: self.keep(t) for t in g.initializer}
        tensors.update((n.output[0], self.constant(n)) for n in g.node if n.op_type == "Constant")
        return {
            "inputs": [v.name for v in g.input if v.name not in tensors],
            "outputs": [v.name for v in g.output],
            "tensors": tensors,
            "nodes": [{"op": n.op_type, "inputs": list(n.input), "outputs": list(n.output),
                       "attributes": {a.name: self.attribute(a) for a in n.attribute}}
                      for n in g.node if n.op_type != "Constant"],
        }


def main():
    model, text, arrays = sys.argv[1:]
    description = Description()
    graph = description.graph(onnx.load(model).graph)
    with open(text, "w", encoding="utf-8") as f:
        json.dump(graph, f)
    np.savez(arrays, **description.arrays)


if __name__ == "__main__":
    main()
