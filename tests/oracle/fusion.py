"""Which nodes that a report calls quantised does ONNX Runtime compute in integers?

    fusion.py SOURCE.onnx MODEL.onnx REPORT.json     every claimed node and what it became

The graph is taken as ONNX Runtime optimised it for this machine. A claimed node (every node of a
weight whose technique is w8a8 or dynamic) is looked for in three ways, since fusions rename: by its
own name, by the integer initializers that its weight is made of, by the tensors it makes. (Where
the written model has no node of that name, it is what stands behind the tensor that the node makes
in the source.) It counts as fused when an integer operator is among what is found and no float
operator with a weight is.

`uncalled` is the other side: nodes that nobody called quantised and that ONNX Runtime quantises on
its own, as it does with a float Conv or Gemm between DequantizeLinear and QuantizeLinear: one scale
for the whole weight.
"""
import collections
import json
import os
import sys
import tempfile

import onnx

import ort_tools

QUANTISED = ("w8a8", "dynamic")
INTEGER_OPERATORS = {
    "QLinearConv", "QLinearMatMul", "QGemm", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "ConvInteger", "QAttention",
}
FLOAT_OPERATORS = {
    "Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "LSTM",
    "GRU", "RNN", "MatMulNBits", "Attention",
}
# What may stand between integer codes and the operator whose weight they are.
CARRIERS = {"DequantizeLinear", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast",
            "Mul", "Sub"}
# What may stand between an operator and the tensor that its fused form makes.
FOLLOWERS = {"Add", "Relu", "Clip", "QuantizeLinear", "Cast", "Mul"}
WEIGHTED = INTEGER_OPERATORS | FLOAT_OPERATORS
# What the written model may have between a weighted operator and the tensor of the source.
TAILS = {"Cast", "Mul", "Add", "DequantizeLinear", "QuantizeLinear", "Relu", "Clip", "Identity"}
CODES = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)

Claim = collections.namedtuple("Claim", "weight node technique")
Finding = collections.namedtuple("Finding", "claim operators fused")


def graphs(graph):
    """The graph and every graph in its nodes' attributes, by a list and not by recursion."""
    waiting = [graph]
    while waiting:
        current = waiting.pop()
        yield current
        for node in current.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def all_nodes(model):
    return [node for graph in graphs(model.graph) for node in graph.node]


def code_tensors(model):
    """Names of the 8-bit constants: initializers and the outputs of Constant nodes."""
    names = {t.name for g in graphs(model.graph) for t in g.initializer if t.data_type in CODES}
    for node in all_nodes(model):
        if node.op_type == "Constant":
            tensors = [a.t for a in node.attribute if a.name == "value"]
            names.update(node.output[0] for t in tensors if t.data_type in CODES)
    return names


def optimised(path):
    """The graph as ONNX Runtime would run it, with its default optimisations."""
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, "optimised.onnx")
        ort_tools.session(path, dump=dump)
        return onnx.load(dump, load_external_data=False)


def claims(report):
    """Every (weight, node) that the report says is computed in integers."""
    return [Claim(weight["name"], node, weight["technique"])
            for weight in report["weights"] if weight["technique"] in QUANTISED
            for node in (weight.get("nodes") or [weight["node"]])]


class Written:
    """The model as written: who made and who reads each tensor, and where the codes are."""

    def __init__(self, model):
        self.nodes = all_nodes(model)
        self.maker = {out: node for node in self.nodes for out in node.output if out}
        self.readers = collections.defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self.codes = code_tensors(model)

    def named(self, name):
        """Nodes called that, or that with a suffix behind a separator."""
        exact = [node for node in self.nodes if node.name == name]
        parts = (name + "_", name + "/")
        return exact or [node for node in self.nodes if name and node.name.startswith(parts)]

    def behind(self, tensors):
        """The weighted operators that make these tensors, alone or with a tail."""
        found, waiting, seen = [], list(tensors), set()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self.maker:
                continue
            seen.add(name)
            node = self.maker[name]
            if node.op_type in WEIGHTED:
                found.append(node)
            elif node.op_type in TAILS:
                waiting += node.input
        return found

    def codes_of(self, node):
        """The 8-bit constants that reach an input of the node through carriers alone."""
        found, waiting = set(), list(node.input)
        while waiting:
            name = waiting.pop()
            if name in self.codes:
                found.add(name)
            elif name in self.maker and self.maker[name].op_type in CARRIERS:
                waiting += self.maker[name].input
        return found

    def outputs_of(self, node):
        """What the node makes, and what the operators that may be fused behind it make."""
        found, waiting = set(), list(node.output)
        while waiting:
            name = waiting.pop()
            found.add(name)
            readers = self.readers[name]
            if len(readers) == 1 and readers[0].op_type in FOLLOWERS:
                waiting += readers[0].output
        return found


def weight_codes(written, weight):
    """8-bit constants that are called after the weight; single numbers (zero points) do no harm."""
    parts = (weight + "_", weight + ".")
    return {name for name in written.codes if name == weight or name.startswith(parts)}


def find(claim, source_outputs, written, runtime_nodes):
    """The claim with the operators that its node became."""
    originals = written.named(claim.node) or written.behind(source_outputs.get(claim.node, []))
    names = {node.name for node in originals if node.name} | {claim.node}
    codes = set().union(*map(written.codes_of, originals)) or weight_codes(written, claim.weight)
    made = set().union(*map(written.outputs_of, originals))
    met = [node for node in runtime_nodes
           if node.name in names or codes & set(node.input) or made & set(node.output)]
    operators = {node.op_type for node in met}
    fused = bool(operators & INTEGER_OPERATORS) and not operators & FLOAT_OPERATORS
    return Finding(claim, sorted(operators), fused)


def judge(source, path, report):
    """Findings for all claims of a report that turned `source` into the model at `path`."""
    outputs = {node.name: node.output for node in all_nodes(onnx.load(source)) if node.name}
    written, runtime_nodes = Written(onnx.load(path)), all_nodes(optimised(path))
    return [find(claim, outputs, written, runtime_nodes) for claim in claims(report)]


def constants(model):
    return {tensor.name for graph in graphs(model.graph) for tensor in graph.initializer} | {
        node.output[0] for node in all_nodes(model) if node.op_type == "Constant"}


def uncalled(path):
    """Names of weights that are 8-bit in ONNX Runtime's graph and nowhere in the written one."""
    runtime, known = optimised(path), constants(onnx.load(path))
    places = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3}
    return sorted({node.input[places[node.op_type]] for node in all_nodes(runtime)
                   if node.op_type in places} - known - runtime_computed(runtime))


def runtime_computed(model):
    """What nodes make while running is no weight."""
    return {name for node in all_nodes(model) for name in node.output}


def share(findings):
    return sum(f.fused for f in findings) / len(findings) if findings else 1.0


def describe(findings):
    """How many of them are fused, and the first that are not, in one line."""
    missed = [f for f in findings if not f.fused]
    text = f"{len(findings) - len(missed)} of {len(findings)} claimed nodes are integer operators"
    some = [f"{f.claim.node} ({', '.join(f.operators) or 'gone'})" for f in missed[:5]]
    return text + (f"; not: {', '.join(some)}" if some else "")


def main():
    if len(sys.argv) != 4:
        raise SystemExit("usage: fusion.py SOURCE.onnx MODEL.onnx REPORT.json")
    source, path, report = sys.argv[1:]
    with open(report, encoding="utf-8") as f:
        findings = judge(source, path, json.load(f))
    for f in findings:
        kind = "fused" if f.fused else "FLOAT"
        print(kind, f.claim.technique, f.claim.node, ",".join(f.operators))
    print(describe(findings))
    for name in uncalled(path):
        print("quantised by ONNX Runtime on its own:", name)
    sys.exit(0 if share(findings) >= 0.95 else 1)


if __name__ == "__main__":
    main()
