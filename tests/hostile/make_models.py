#!/usr/bin/env python3
"""Makes the hostile models: make_models.py DIRECTORY, or make_models.py --manifest.

Each row of the catalogue is a function that returns the bytes of a model, or a dictionary of files
of which "model.onnx" is the model. DIRECTORY/ROW/ gets the files; what must come of each is in the
row's decorator and, for readers and for tests/hostile/run, in manifest.tsv (--manifest prints it).

Everything is written byte by byte: no library would write most of this.
"""
import hashlib
import os
import struct
import sys

# ---- protobuf --------------------------------------------------------------------------------

VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32 = range(6)


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def padded(value, width):
    """A varint of more bytes than it needs."""
    return bytes((value >> 7 * i & 0x7F) | (0x80 if i < width - 1 else 0) for i in range(width))


def tag(field, wire_type):
    return varint(field << 3 | wire_type)


def integer(field, value):
    return tag(field, VARINT) + varint(value)


def blob(field, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return tag(field, LENGTH) + varint(len(payload)) + payload


def real(field, value):
    return tag(field, FIXED32) + struct.pack("<f", value)


def double(field, value):
    return tag(field, FIXED64) + struct.pack("<d", value)


# ---- parts of models -------------------------------------------------------------------------

FLOAT, UINT8, INT8, UINT16, INT16, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = range(1, 12)
UINT32, UINT64, COMPLEX64, COMPLEX128, BFLOAT16, E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ = range(12, 21)
UINT4, INT4, FLOAT4, E8M0, UINT2, INT2, FLOAT6 = range(21, 28)
A_FLOAT, A_INT, A_STRING, A_TENSOR, A_GRAPH, A_FLOATS, A_INTS, A_STRINGS, A_TENSORS, A_GRAPHS = (
    range(1, 11))


def opset(domain, version):
    return blob(8, blob(1, domain) + integer(2, version))


def entry(key, value):
    return blob(1, key) + blob(2, value)


def value_info(name, shape=None, dtype=FLOAT):
    dims = b"" if shape is None else blob(2, b"".join(blob(1, integer(1, d)) for d in shape))
    return blob(1, name) + blob(2, blob(1, integer(1, dtype) + dims))


def node(op_type, inputs, outputs, *attributes, name=None, domain=None):
    out = b"".join(blob(1, i) for i in inputs) + b"".join(blob(2, o) for o in outputs)
    out += b"" if name is None else blob(3, name)
    out += blob(4, op_type) + b"".join(blob(5, a) for a in attributes)
    return out + (b"" if domain is None else blob(7, domain))


def attribute(name, type_, value=b""):
    return blob(1, name) + integer(20, type_) + value


def tensor(name, dtype, dims, data=b""):
    return b"".join(integer(1, d) for d in dims) + integer(2, dtype) + blob(8, name) + data


def raw(payload):
    return blob(9, payload)


def external(*pairs):
    return integer(14, 1) + b"".join(blob(13, entry(k, v)) for k, v in pairs)


RELU = node("Relu", ["x"], ["y"])
GRAPH, INITIALIZER, INPUT, OUTPUT, VALUE_INFO, SPARSE, FUNCTION = 7, 5, 11, 12, 13, 15, 25


def graph(*more, nodes=(RELU,), inputs=("x",), outputs=("y",), name="g"):
    """x -> Relu -> y; `more` is appended."""
    return (b"".join(blob(1, n) for n in nodes) + (b"" if name is None else blob(2, name)) +
            b"".join(blob(INPUT, value_info(i)) for i in inputs) +
            b"".join(blob(OUTPUT, value_info(o)) for o in outputs) + b"".join(more))


HEADER = integer(1, 8) + opset("", 17)


def model(g=None, *more, header=HEADER):
    return header + blob(GRAPH, graph() if g is None else g) + b"".join(more)


def with_initializer(t, *more):
    return model(graph(blob(INITIALIZER, t)), *more)


def with_node(n, *more):
    return model(graph(nodes=(RELU, n)), *more)


def function(name, *nodes):
    """One input a, one output b."""
    head = blob(1, name) + blob(4, "a") + blob(5, "b") + blob(10, "local") + blob(9, integer(2, 17))
    head += blob(9, blob(1, "local") + integer(2, 1))
    return blob(FUNCTION, head + b"".join(blob(7, n) for n in nodes))


def call(name, source="a", result="b"):
    return node(name, [source], [result], domain="local")


def with_functions(*functions):
    g = graph(nodes=(RELU, call("f0", "x", "z")))
    return model(g, opset("local", 1), *functions)


# ---- the catalogue ---------------------------------------------------------------------------

ROWS = []
BOTH = "info,copy"


def row(identity, exit_code, expected="", commands=BOTH, arguments=""):
    """Expected: a regular expression for the error's code and text; nothing for rows to accept."""

    def keep(build):
        assert identity not in [r[0] for r in ROWS], identity
        ROWS.append((identity, build, commands, arguments, exit_code, expected))
        return build

    return keep


def rows(prefix, cases, build):
    """One row per case (suffix, exit code, expected, argument of `build`...)."""
    for suffix, exit_code, expected, *arguments in cases:
        row(prefix + suffix, exit_code, expected)(lambda a=arguments: build(*a))


# P: protobuf


row("P01", 3, "E-EMPTY")(lambda: b"")
rows("P02-", [(f"{byte:02x}", 3, "E-(TRUNCATED|WIRE|WIRETYPE|NOT-ONNX|NO-GRAPH|IR)", byte)
              for byte in (0x00, 0x08, 0x0A, 0x3A, 0x41, 0x80, 0xFF)], lambda byte: bytes([byte]))
rows("P03-", [
    ("png", 3, "E-NOT-ONNX.*PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(50)),
    ("zip", 3, "E-NOT-ONNX.*ZIP", b"PK\x03\x04\x14" + bytes(50)),
    ("safetensors", 3, "E-NOT-ONNX.*safetensors", struct.pack("<Q", 9) + b'{"a":{}} ' + bytes(9)),
    ("gguf", 3, "E-NOT-ONNX.*GGUF", b"GGUF" + struct.pack("<IQQ", 3, 1, 1)),
    ("hdf5", 3, "E-NOT-ONNX.*HDF5", b"\x89HDF\r\n\x1a\n" + bytes(50)),
    ("gzip", 3, "E-NOT-ONNX.*gzip", b"\x1f\x8b\x08" + bytes(20)),
    ("text", 3, "E-NOT-ONNX.*text", b"<html>404 Not Found</html>\n"),
], lambda data: data)
rows("P04-", [(f"cut{percent}", 3, "E-(TRUNCATED|NO-GRAPH)", percent)
              for percent in (1, 10, 25, 50, 75, 90, 99)],
     lambda percent: model()[:max(1, len(model()) * percent // 100)])
rows("P05-", [
    ("open", 3, "E-(WIRE|TRUNCATED)", b"\x28\xff\xff\xff"),
    ("eleven", 3, "E-WIRE", b"\x28" + b"\x80" * 10 + b"\x01"),
    ("overflow", 3, "E-WIRE", b"\x28" + b"\xff" * 9 + b"\x02"),
], lambda end: model() + end)
rows("P06-", [
    ("zero", 3, "E-WIRE", b"\x00\x01"),
    ("padded-zero", 3, "E-WIRE", b"\x80\x00\x01"),
    ("too-large", 3, "E-WIRE", tag(1 << 29, VARINT) + b"\x01"),
    ("six-bytes", 3, "E-WIRE", b"\x88\x80\x80\x80\x80\x00\x01"),
], lambda end: model() + end)
rows("P07-", [(str(t), 3, "E-WIRE", t) for t in (3, 4, 6, 7)],
     lambda t: model() + tag(600, t) + b"\x01")
rows("P08-", [
    ("remaining", 3, "E-(WIRE|TRUNCATED)", 1000),
    ("2e31", 3, "E-WIRE", 1 << 31),
    ("2e32", 3, "E-WIRE", (1 << 32) - 1),
    ("2e63", 3, "E-WIRE", 1 << 63),
], lambda length: model() + tag(6, LENGTH) + varint(length))
row("P09", 3, "E-WIRE.*graph")(
    lambda: model(graph() + tag(1, LENGTH) + varint(50)) + blob(6, "d" * 100))
rows("P10-", [
    ("graph", 3, "E-WIRETYPE", HEADER + integer(GRAPH, 1)),
    ("number", 3, "E-WIRETYPE", model() + blob(5, "1")),
    ("float", 3, "E-WIRETYPE", with_node(node("Elu", ["x"], ["z"],
                                              attribute("alpha", A_FLOAT, integer(2, 1))))),
    ("raw", 3, "E-WIRETYPE", with_initializer(tensor("w", FLOAT, [1], real(9, 1)))),
], lambda data: data)
rows("P11-", [
    ("dtype", 3, "E-RANGE", tensor("w", (1 << 32) + FLOAT, [1], raw(bytes(4)))),
    ("int32", 3, "E-RANGE", tensor("w", INT32, [1], integer(5, 1 << 35))),
    ("packed", 3, "E-RANGE", tensor("w", INT32, [1], blob(5, varint(1 << 40)))),
], with_initializer)
rows("P12-", [
    ("dtype", 3, "E-(ENUM|DTYPE)", with_initializer(tensor("w", 99, [1], raw(bytes(4))))),
    ("location", 3, "E-ENUM", with_initializer(tensor("w", FLOAT, [1], integer(14, 7)))),
    ("attribute", 3, "E-ENUM", with_node(node("Elu", ["x"], ["z"], attribute("alpha", 42)))),
], lambda data: data)
rows("P13-", [
    ("float", 3, "E-WIRE", tensor("w", FLOAT, [2], blob(4, bytes(7)))),
    ("double", 3, "E-WIRE", tensor("w", DOUBLE, [2], blob(10, bytes(12)))),
    ("open", 3, "E-WIRE", tensor("w", INT64, [2], blob(7, b"\x01\x82"))),
    ("empty", 0, "", tensor("w", FLOAT, [0], blob(4, b""))),
], with_initializer)
row("P14", 0)(lambda: with_initializer(
    tensor("w", FLOAT, [3], blob(4, struct.pack("<2f", 1, 2)) + real(4, 3))))
row("P15", 0)(lambda: blob(500, b"\xff") +
              model(graph(integer(501, 7), tag(502, FIXED32) + b"abcd")) +
              tag(503, FIXED64) + bytes(8) + b"".join(blob(i, str(i)) for i in range(504, 511)))
row("P16", 5, "E-LIMIT-FIELDS")(lambda: model() + b"\x78\x01" * 4000000)
row("P17", 3, "E-DUP-FIELD.*graph")(lambda: model() + blob(GRAPH, graph()))
rows("P18-", [
    ("ir", 3, "E-DUP-FIELD.*ir_version", model() + integer(1, 8)),
    ("name", 3, "E-DUP-FIELD.*name", model(graph(blob(2, "again")))),
    ("raw", 3, "E-DUP-FIELD.*raw_data", with_initializer(
        tensor("w", FLOAT, [1], raw(bytes(4)) + raw(bytes(4))))),
    ("dim", 3, "E-DUP-FIELD.*exclude", model(graph(blob(INPUT, blob(1, "q") + blob(2, blob(
        1, integer(1, 1) + blob(2, blob(1, integer(1, 3) + blob(2, "N"))))))))),
], lambda data: data)
row("P19", 3, "E-STR-NUL")(lambda: model() + blob(2, b"ab\0cdef"))
rows("P20-", [
    ("invalid", 3, "E-STR-UTF8", b"\xff"),
    ("cut", 3, "E-STR-UTF8", b"a\xc3"),
    ("overlong", 3, "E-STR-UTF8", b"\xc0\xaf"),
    ("surrogate", 3, "E-STR-UTF8", b"\xed\xa0\x80"),
    ("beyond", 3, "E-STR-UTF8", b"\xf4\x90\x80\x80"),
], lambda text: model() + blob(2, text))


def nested(messages):
    """model > graph > node > attribute > graph ...: so many messages in one another."""
    inner = b""
    for depth in range(messages - 1, 1, -1):
        if depth % 3 == 2:
            outer = blob(2, "g") + (blob(OUTPUT, value_info("y")) if depth == 2 else b"")
            inner = blob(1, inner) + outer
        elif depth % 3 == 0:
            inner = blob(5, inner) + blob(4, "If") + blob(2, "y")
        else:
            inner = attribute("then_branch", A_GRAPH, blob(6, inner))
    return HEADER + blob(GRAPH, inner)


def nested_outside_in(messages):
    """The same without contents, quick to make: every length has four bytes."""
    out = bytearray()
    for i in range(messages - 1):
        left = (messages - 2 - i) * 5
        out.append((GRAPH if i == 0 else (1, 5, 6)[(i - 1) % 3]) << 3 | LENGTH)
        out += padded(left, 4)
    return HEADER + bytes(out)


# The innermost graph lacks what it needs, but the nesting is within the limit: info may say so.
row("P21-98", 0, commands="copy")(lambda: nested(98))
rows("P21-", [("101", 5, "E-LIMIT-DEPTH", 101), ("1000", 5, "E-LIMIT-DEPTH", 1000),
              ("3000", 5, "E-LIMIT-DEPTH", 3000)], nested)
row("P21-million", 5, "E-LIMIT-DEPTH")(lambda: nested_outside_in(1000000))


def nested_type(outer, inner, levels):
    type_ = b""
    for _ in range(levels):
        type_ = blob(outer, blob(inner, type_))
    return model(graph(blob(VALUE_INFO, blob(1, "v") + blob(2, type_))))


rows("P22-", [("sequence", 5, "E-LIMIT-DEPTH", 4, 1, 1000),
              ("optional", 5, "E-LIMIT-DEPTH", 9, 1, 1000),
              ("map", 5, "E-LIMIT-DEPTH", 5, 2, 1000)], nested_type)
rows("P23-", [
    ("nodes", 5, "E-LIMIT-(ALLOC|NODES)", graph() + b"\x0a\x00" * (1 << 20)),
    ("tensors", 5, "E-LIMIT-(ALLOC|TENSORS)", graph() + b"\x2a\x00" * (1 << 20)),
    ("attributes", 5, "E-LIMIT-ALLOC", graph(blob(1, b"\x2a\x00" * (1 << 20)))),
    ("dims", 5, "E-LIMIT-(ALLOC|RANK)", graph(blob(INITIALIZER, integer(2, FLOAT) + blob(8, "w")
                                                   + b"\x08\x01" * (1 << 20)))),
], model)
row("P24", 0)(lambda: padded(1 << 3, 2) + padded(8, 3) + opset("", 17) +
              padded(GRAPH << 3 | LENGTH, 3) + padded(len(graph()), 5) + graph())

# M: the model

row("M01", 3, "E-NO-GRAPH")(lambda: HEADER)
rows("M02-", [("missing", 3, "E-IR", b""), ("zero", 3, "E-IR", integer(1, 0)),
              ("negative", 3, "E-IR", integer(1, -1))],
     lambda ir: model(header=ir + opset("", 17)))
row("M03", 4, "E-IR-NEW.*15.*14")(lambda: model(header=integer(1, 15) + opset("", 17)))
row("M04", 3, "E-OPSET")(lambda: model(header=integer(1, 8)))
row("M05", 3, "E-OPSET-DUP")(lambda: model(None, opset("ai.onnx", 13)))
rows("M06-", [("zero", 3, "E-OPSET", 0), ("negative", 3, "E-OPSET", -1),
              ("huge", 4, "E-OPSET-NEW", (1 << 63) - 1)],
     lambda version: model(header=integer(1, 8) + opset("", version)))
row("M07", 4, "E-OPSET-NEW")(lambda: model(header=integer(1, 14) + opset("", 29)))
row("M08", 0, commands="copy")(
    lambda: with_node(node("Mystery", ["x"], ["z"], domain="org.example"), opset("org.example", 3)))
row("M09", 3, "E-OPSET.*org.example")(
    lambda: with_node(node("Mystery", ["x"], ["z"], domain="org.example")))
row("M10", 3, "E-META-DUP")(
    lambda: model(None, blob(14, entry("k", "1")), blob(14, entry("k", "2"))))
row("M10-same", 0)(lambda: model(None, blob(14, entry("k", "1")), blob(14, entry("k", "1"))))
row("M11", 3, "E-FUNC-DUP")(lambda: with_functions(function("f0", RELU), function("f0", RELU)))
row("M12", 0)(lambda: model(None, blob(20, blob(2, graph()))))
row("M13", 0)(lambda: model(graph(name=None)))
row("M14", 3, "E-NO-OUTPUT")(lambda: model(graph(nodes=(), outputs=())))
rows("M15-", [("zeros", 3, "E-WIRE", bytes(16)), ("text", 3, "E-WIRE", b"trailing garbage")],
     lambda end: model() + end)
row("M16-fifo", 3, "E-NOT-REGULAR")(lambda: {"model.onnx": ("fifo",)})
row("M16-directory", 3, "E-NOT-REGULAR")(lambda: {"model.onnx": ("directory",)})
rows("M16-", [("zero", 3, "E-NOT-REGULAR", "/dev/zero"), ("null", 3, "E-NOT-REGULAR", "/dev/null"),
              ("mem", 3, "E-NOT-REGULAR|E-EMPTY", "/proc/self/mem"),
              ("environ", 3, "E-NOT-REGULAR|E-EMPTY", "/proc/self/environ")],
     lambda target: {"model.onnx": ("link", target)})
row("M16-loop", 6, "E-OPEN")(lambda: {"model.onnx": ("link", "model.onnx")})
row("M16-absent", 6, "E-OPEN")(lambda: {})

# G: graphs and nodes


def chain(count, last):
    """Relu nodes n0 -> n1 -> ...; the first reads `last`."""
    first = node("Relu", [last], ["n1"])
    rest = [node("Relu", [f"n{i}"], [f"n{i + 1}"]) for i in range(1, count)]
    return (first, *rest)


rows("G01-", [(str(count), 3, "E-CYCLE", count) for count in (1, 2, 1000)],
     lambda count: model(graph(nodes=(RELU, *chain(count, f"n{count}")))))
row("G02", 3, "E-TOPO")(
    lambda: model(graph(nodes=(node("Relu", ["a"], ["y"]), node("Relu", ["x"], ["a"])))))
row("G03", 3, "E-SSA")(lambda: with_node(node("Relu", ["x"], ["y"])))
rows("G04-", [
    ("input", 3, "E-SSA", graph(nodes=(RELU, node("Relu", ["y"], ["x"])))),
    ("initializer", 3, "E-SSA", graph(blob(INITIALIZER, tensor("y", FLOAT, [1], raw(bytes(4)))))),
], model)


def sparse(values, indices, *dims):
    return blob(SPARSE, values + indices + b"".join(integer(3, d) for d in dims))


def values(count=1, data=None, name="s"):
    data = blob(4, struct.pack(f"<{count}f", *range(1, count + 1))) if data is None else data
    return blob(1, tensor(name, FLOAT, [count], data))


def indices(shape, *numbers, dtype=INT64):
    field = 5 if dtype == INT32 else 7
    return blob(2, tensor("i", dtype, shape, blob(field, b"".join(map(varint, numbers)))))


ONE_W = blob(INITIALIZER, tensor("w", FLOAT, [1], raw(bytes(4))))
rows("G05-", [
    ("dense", 3, "E-DUP-INIT", graph(ONE_W, ONE_W)),
    ("sparse", 3, "E-DUP-INIT", graph(ONE_W, sparse(values(name="w"), indices([1], 0), 4))),
], model)
rows("G06-", [
    ("input", 3, "E-DUP-IO", graph(inputs=("x", "x"))),
    ("output", 3, "E-DUP-IO", graph(outputs=("y", "y"))),
], model)
row("G07", 3, "E-UNDEF")(lambda: with_node(node("Relu", ["nowhere"], ["z"])))
row("G08", 3, "E-UNDEF-OUT")(lambda: model(graph(outputs=("nowhere",))))
row("G10-constant", 3, "E-ARITY")(lambda: with_node(node(
    "Constant", ["x"], [], attribute("value_float", A_FLOAT, real(2, 1)))))
row("G11", 3, "E-OPTYPE")(lambda: with_node(node("", ["x"], ["z"], name="nameless")))
row("G12", 3, "E-ARITY")(lambda: with_node(node("Relu", [], [])))
row("G13", 3, "E-ATTR-DUP")(lambda: with_node(node(
    "Elu", ["x"], ["z"], *[attribute("alpha", A_FLOAT, real(2, 1))] * 2)))
rows("G14-", [
    ("floats", 3, "E-ATTR-TYPE", attribute("alpha", A_INT, real(7, 1))),
    ("two", 3, "E-ATTR-TYPE", attribute("alpha", A_INT, integer(3, 1) + real(2, 1))),
    ("none", 3, "E-ATTR-TYPE", attribute("alpha", A_INT)),
    ("untyped", 3, "E-ATTR-TYPE", blob(1, "alpha") + real(2, 1)),
], lambda a: with_node(node("Elu", ["x"], ["z"], a)))
row("G15", 3, "E-ATTR-REF")(lambda: with_node(node(
    "Elu", ["x"], ["z"], attribute("alpha", A_FLOAT, blob(21, "outer")))))
row("G16", 0, commands="copy")(lambda: with_node(node(
    "Elu", ["x"], ["z"], attribute("no_such_thing", A_FLOAT, real(2, 1)))))


def if_node(then_graph, else_graph=None, outputs=("z",)):
    else_graph = graph(nodes=(node("Relu", ["x"], ["e"]),), inputs=(), outputs=("e",)) \
        if else_graph is None else else_graph
    return node("If", ["c"], outputs, attribute("then_branch", A_GRAPH, blob(6, then_graph)),
                attribute("else_branch", A_GRAPH, blob(6, else_graph)), name="If_1")


def with_if(then_graph, after=()):
    condition = blob(INITIALIZER, tensor("c", BOOL, [], raw(b"\1")))
    return model(graph(condition, nodes=(RELU, if_node(then_graph), *after)))


row("G17", 3, "E-SHADOW")(lambda: with_if(
    graph(nodes=(node("Relu", ["x"], ["y"]),), inputs=(), outputs=("y",))))
row("G19", 3, "E-(UNDEF|TOPO)")(lambda: with_if(
    graph(nodes=(node("Relu", ["later"], ["t"]),), inputs=(), outputs=("t",)),
    after=(node("Relu", ["x"], ["later"]),)))


def body_with(n):
    return blob(1, n) + blob(2, "body")


rows("G20-", [
    ("itself", 3, "E-FUNC-CYCLE.*f0.*f0", [function("f0", call("f0"))]),
    ("two", 3, "E-FUNC-CYCLE.*f0.*f1.*f0", [function("f0", call("f1")),
                                            function("f1", call("f0"))]),
    ("branch", 3, "E-FUNC-CYCLE", [function("f0", node("If", ["a"], ["b"], attribute(
        "then_branch", A_GRAPH, blob(6, body_with(call("f0"))))))]),
    ("list", 3, "E-FUNC-CYCLE", [function("f0", node("If", ["a"], ["b"], attribute(
        "branches", A_GRAPHS, blob(11, body_with(RELU)) + blob(11, body_with(call("f0"))))))]),
], lambda functions: with_functions(*functions))


def call_chain(length, fan_out=1):
    functions = [function(f"f{i}", *[call(f"f{i + 1}")] * fan_out) for i in range(length - 1)]
    return with_functions(*functions, function(f"f{length - 1}", node("Relu", ["a"], ["b"])))


row("G21-chain", 5, "E-LIMIT-EXPAND")(lambda: call_chain(101))
row("G21-100", 0, commands="copy")(lambda: call_chain(100))
row("G21-fan", 5, "E-LIMIT-EXPAND")(lambda: call_chain(20, 10))
row("G22", 5, "E-LIMIT-FUNCS")(
    lambda: with_functions(*[function(f"f{i}", RELU) for i in range(10001)]))
row("G23-long", 5, "E-LIMIT-NAME")(
    lambda: with_node(node("Relu", ["x"], ["z"], name="n" * (1 << 20))))
row("G23-escape", 3, r"E-OPTYPE.*\\x1b\[31m\\n%n%s.*\\u202e")(
    lambda: with_node(node("", ["x"], ["z"], name="\x1b[31m\n%n%s\u202e")))
row("G23-accepted", 0)(
    lambda: with_node(node("Relu", ["x"], ["z"], name="\x1b[31m\n%n%s\u202e")))
row("G24-chain", 0)(lambda: model(graph(
    nodes=(RELU, *chain(999999, "x")), outputs=("n999999",))))
row("G24-fan", 0, commands="copy")(
    lambda: model(graph(nodes=(RELU, *[node("Relu", ["y"], [f"n{i}"]) for i in range(999999)]))))

# T: tensors


def one(dtype, dims, data=b""):
    return with_initializer(tensor("w", dtype, dims, data))


rows("T01-", [("negative", 3, "E-DIM", FLOAT, [2, -1]),
              ("min", 3, "E-DIM", FLOAT, [-1 << 63])], one)
rows("T02-", [("2e32", 3, "E-SHAPE-OVERFLOW", UINT8, [1 << 32, 1 << 32]),
              ("root", 3, "E-SHAPE-OVERFLOW", UINT8, [3037000501, 3037000501])], one)
rows("T03", [("", 3, "E-SHAPE-OVERFLOW", DOUBLE, [1 << 61])], one)
rows("T04", [("", 3, "E-RAW-LEN", FLOAT, [1 << 60], raw(bytes(4)))], one)
rows("T05-", [("first", 0, "", FLOAT, [0, 1 << 62, 1 << 62]),
              ("last", 0, "", FLOAT, [1 << 62, 1 << 62, 0])], one)
rows("T06-", [("raw", 3, "E-RAW-LEN", FLOAT, [0], raw(bytes(4))),
              ("typed", 3, "E-DATA-LEN", FLOAT, [0], real(4, 1))], one)
rows("T07-", [("65", 5, "E-LIMIT-RANK", UINT8, [1] * 65, raw(b"1")),
              ("million", 5, "E-LIMIT-(RANK|ALLOC)", UINT8, [], blob(1, b"\1" * 1000000))], one)
rows("T08-", [("short", 3, "E-RAW-LEN", FLOAT, [2, 3], raw(bytes(23))),
              ("long", 3, "E-RAW-LEN", FLOAT, [2, 3], raw(bytes(25))),
              ("element", 3, "E-RAW-LEN", FLOAT, [2, 3], raw(bytes(28))),
              ("half", 3, r'initializer "w": raw_data has 12 bytes, shape \[2,3\] FLOAT needs 24',
               FLOAT, [2, 3], raw(bytes(12)))], one)
rows("T09", [("", 3, "E-RAW-LEN", DOUBLE, [1], raw(bytes(7)))], one)
for _name, _type, _one in (
        ("float", FLOAT, real(4, 1)), ("int32", INT8, integer(5, 1)),
        ("string", STRING, blob(6, "a")),
        ("int64", INT64, integer(7, 1)), ("double", DOUBLE, double(10, 1)),
        ("uint64", UINT32, integer(11, 1))):
    rows(f"T10-{_name}-", [("short", 3, "E-DATA-LEN", _type, [3], _one * 2),
                           ("long", 3, "E-DATA-LEN", _type, [3], _one * 4),
                           ("right", 0, "", _type, [3], _one * 3)], one)
rows("T11-", [("raw", 3, "E-DATA-BOTH", FLOAT, [1], raw(bytes(4)) + real(4, 1)),
              ("typed", 3, "E-DATA-BOTH", INT32, [1], integer(5, 1) + integer(7, 1))], one)
rows("T12-", [("float", 3, "E-DATA-FIELD", FLOAT, [1], integer(7, 1)),
              ("int64", 3, "E-DATA-FIELD", INT64, [1], integer(5, 1)),
              ("half", 3, "E-DATA-FIELD", FLOAT16, [1], real(4, 1))], one)
rows("T13-", [("0", 3, "E-DTYPE", 0, [1]), ("27", 4, "E-DTYPE", FLOAT6, [1], raw(b"\0")),
              ("29", 3, "E-DTYPE", 29, [1]), ("negative", 3, "E-DTYPE", -1, [1])], one)
rows("T14", [("", 3, "E-DATA-FIELD", STRING, [1], raw(b"a"))], one)
row("T15", 0)(lambda: one(STRING, [2], blob(6, "a") + blob(6, b"\xff\0")))
rows("T16-", [("half", 3, "E-DATA-RANGE", FLOAT16, [1], integer(5, 70000)),
              ("int8", 3, "E-DATA-RANGE", INT8, [1], integer(5, 128)),
              ("uint8", 3, "E-DATA-RANGE", UINT8, [1], integer(5, -1)),
              ("bool", 3, "E-DATA-RANGE", BOOL, [1], integer(5, 2)),
              ("uint32", 3, "E-DATA-RANGE", UINT32, [1], integer(11, 1 << 32))], one)
rows("T17", [("", 3, "E-DATA-RANGE", BOOL, [3], raw(b"\0\1\2"))], one)
rows("T18-", [("int4", 0, "", INT4, [3], raw(b"\x12\xf3")),
              ("uint4", 0, "", UINT4, [3], raw(b"\x12\xf3")),
              ("float4", 0, "", FLOAT4, [3], raw(b"\x12\xf3"))], one)
rows("T19", [("", 3, r"E-RAW-LEN.*ceil\(n/2\)", INT4, [5], raw(bytes(5)))], one)
rows("T20-", [(f"{n}-{size}", 0 if size == (n + 3) // 4 else 3,
               "" if size == (n + 3) // 4 else "E-RAW-LEN", UINT2, [n], raw(bytes(size)))
              for n in (1, 3, 4, 5, 8, 9) for size in (1, 2, 3)], one)
rows("T21-", [(f"{dtype}", 0, "", dtype, [256], raw(bytes(range(256))))
              for dtype in (E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, E8M0)], one)
row("T22", 0, arguments="--nonfinite=keep")(
    lambda: one(FLOAT16, [65536], raw(struct.pack("<65536H", *range(65536)))))
NAN, INF = float("nan"), float("inf")


def multiplied(*numbers):
    w = tensor("w", FLOAT, [len(numbers), 1], raw(struct.pack(f"<{len(numbers)}f", *numbers)))
    return model(graph(blob(INITIALIZER, w), nodes=(node("MatMul", ["x", "w"], ["y"]),)))


rows("T23-", [("raw", 3, r'E-NONFINITE.*"w".*index 2', FLOAT, [3],
               raw(struct.pack("<3f", 1, 2, NAN))),
              ("typed", 3, r'E-NONFINITE.*"w".*index 1', DOUBLE, [2],
               double(10, 1) + double(10, NAN)),
              ("half", 3, r'E-NONFINITE.*"w".*index 0', FLOAT16, [1], integer(5, 0x7E00))], one)
row("T23-keep", 0, arguments="--nonfinite=keep")(lambda: multiplied(1, NAN))
rows("T24-", [("inf", 3, "E-NONFINITE.*index 1", 1, INF), ("zero", 0, "", 0, 0),
              ("equal", 0, "", 3, 3), ("denormal", 0, "", 1e-45, -1e-45),
              ("range", 0, "", 1e-45, 1e38)], multiplied)
row("T24-mask", 0)(lambda: one(FLOAT, [2], raw(struct.pack("<2f", 0, -INF))))
row("T25", 0)(lambda: one(COMPLEX64, [1], raw(bytes(8))))
row("T26", 4, "E-SEGMENT")(lambda: one(FLOAT, [1], blob(3, integer(1, 0) + integer(2, 1))))
row("T27", 0)(lambda: model(graph(ONE_W, inputs=("x", "w"))))
row("T28", 0)(lambda: model(graph(ONE_W, nodes=(
    RELU, *[node("Add", ["x", "w"], [f"n{i}"]) for i in range(1000)]))))
row("T29", 3, "E-SHAPE-MISMATCH")(
    lambda: model(graph(ONE_W, blob(VALUE_INFO, value_info("w", [2])))))

# S: sparse tensors

rows("S01", [("", 3, "E-SPARSE", values(), indices([1], 2, dtype=INT32), 4)],
     lambda *s: model(graph(sparse(*s))))
rows("S02-", [
    ("large", 3, "E-SPARSE-INDEX", values(), indices([1], 6), 2, 3),
    ("negative", 3, "E-SPARSE-INDEX", values(), indices([1], -1), 2, 3),
    ("column", 3, "E-SPARSE-INDEX", values(), indices([1, 2], 0, 3), 2, 3),
], lambda *s: model(graph(sparse(*s))))
rows("S03-", [
    ("unsorted", 3, "E-SPARSE-ORDER", values(2), indices([2], 3, 1), 4),
    ("duplicate", 3, "E-SPARSE-ORDER", values(2), indices([2], 1, 1), 4),
], lambda *s: model(graph(sparse(*s))))
rows("S04-", [
    ("rank", 3, "E-SPARSE", values(), indices([1, 3], 0, 0, 0), 2, 3),
    ("scalar", 3, "E-SPARSE", values(), indices([], 0), 4),
    ("cube", 3, "E-SPARSE", values(), indices([1, 1, 1], 0), 4),
], lambda *s: model(graph(sparse(*s))))
rows("S05", [("", 3, "E-DATA-LEN", values(3), indices([3, 2], 0, 1, 1, 0, 1), 4, 4)],
     lambda *s: model(graph(sparse(*s))))
rows("S06", [("", 3, "E-SHAPE-OVERFLOW", values(), indices([1], 5), 1 << 32, 1 << 32)],
     lambda *s: model(graph(sparse(*s))))
row("S07", 5, "E-LIMIT-MEM", commands="info")(
    lambda: model(graph(sparse(values(), indices([1], 7), 1 << 40))))
rows("S08-", [
    ("values", 3, "E-EXT-PATH", values(data=external(("location", "../w.bin"))),
     indices([1], 1), 4),
    ("indices", 3, "E-EXT-PATH", values(),
     blob(2, tensor("i", INT64, [1], external(("location", "../w.bin")))), 4),
], lambda *s: model(graph(sparse(*s))))
row("S-accepted", 0)(lambda: model(graph(sparse(values(2), indices([2, 2], 0, 1, 1, 2), 2, 3))))

# X: external data

FOUR = struct.pack("<4f", 1, 2, 3, 4)


def outside(*pairs, dims=(4,), dtype=FLOAT, data=b"", files=None):
    t = tensor("w", dtype, dims, external(*pairs) + data)
    return {"model.onnx": with_initializer(t), **({"w.bin": FOUR} if files is None else files)}


def located(location, files=None):
    return outside(("location", location), files=files)


row("X-accepted", 0, commands="info")(lambda: located("w.bin"))
row("X-folder", 0, commands="info")(lambda: located("a/b.bin", {"a/b.bin": FOUR}))
row("X01-missing", 3, "E-EXT-PATH")(lambda: outside(("offset", "0")))
rows("X01-", [("empty", 3, "E-EXT-PATH", ""), ("dot", 3, "E-EXT-PATH", ".")], located)
rows("X02-", [("absolute", 3, "E-EXT-PATH", "/etc/passwd"), ("drive", 3, "E-EXT-PATH", "C:\\w.bin"),
              ("share", 3, "E-EXT-PATH", "\\\\srv\\w.bin"),
              ("scheme", 3, "E-EXT-PATH", "file:///etc/passwd")], located)
rows("X03-", [(str(i), 3, "E-EXT-PATH", location) for i, location in enumerate((
    "../w.bin", "a/../../w.bin", "a/..", "./../w.bin", "..\\w.bin", "a/b/../..", "..",
    "a//w.bin"))],
     located)
row("X04", 3, "E-EXT-LINK")(lambda: located("p", {"p": ("link", "/etc/passwd")}))
row("X04-beside", 3, "E-EXT-LINK")(
    lambda: located("p", {"p": ("link", "w.bin"), "w.bin": FOUR}))
row("X04-allowed", 0, commands="info", arguments="--allow-symlinks")(
    lambda: located("p", {"p": ("link", "w.bin"), "w.bin": FOUR}))
row("X05", 3, "E-EXT-LINK")(
    lambda: located("d/w.bin", {"real/w.bin": FOUR, "d": ("link", "real")}))
row("X06", 3, "E-EXT-HARDLINK")(
    lambda: located("w.bin", {"other.bin": FOUR, "w.bin": ("hardlink", "other.bin")}))
row("X06-allowed", 0, commands="info", arguments="--allow-hardlinks")(
    lambda: located("w.bin", {"other.bin": FOUR, "w.bin": ("hardlink", "other.bin")}))


def hub_cache(target):
    files = located("w.bin", {"blobs/bb": FOUR, "w.bin": ("link", target)})
    return {**files, "blobs/aa": files["model.onnx"], "model.onnx": ("link", "blobs/aa")}


row("X07", 0, commands="info")(lambda: hub_cache("blobs/bb"))
row("X07-out", 3, "E-EXT-LINK")(lambda: {**hub_cache("secret"), "secret": FOUR})
rows("X09-", [
    ("fifo", 3, "E-NOT-REGULAR", "p", {"p": ("fifo",)}),
    ("directory", 3, "E-NOT-REGULAR", "p", {"p": ("directory",)}),
    ("zero", 3, "E-EXT-LINK", "p", {"p": ("link", "/dev/zero")}),
    ("environ", 3, "E-EXT-LINK", "p", {"p": ("link", "/proc/self/environ")}),
], located)
rows("X10-", [
    ("offset", 3, "E-EXT-RANGE", ("offset", "17")),
    ("sum", 3, "E-EXT-RANGE", ("offset", "1"), ("length", "16")),
    ("wrap", 3, "E-EXT-RANGE", ("offset", str((1 << 63) - 1)), ("length", str((1 << 63) - 1))),
], lambda *pairs: outside(("location", "w.bin"), *pairs))
rows("X11-", [(str(i), 3, "E-EXT-NUM", text) for i, text in enumerate((
    "-1", "+1", " 1", "1e3", "0x10", "", "9" * 30, "1_0", str(1 << 63)))],
     lambda text: outside(("location", "w.bin"), ("offset", text)))
row("X12", 3, "E-EXT-RANGE")(
    lambda: outside(("location", "w.bin"), ("length", str(1 << 50)), dims=(1 << 48,)))
row("X13", 3, "E-EXT-LEN")(lambda: outside(("location", "w.bin"), ("length", "12")))
row("X14-raw", 3, "E-DATA-BOTH")(lambda: outside(("location", "w.bin"), data=raw(FOUR)))
row("X14-default", 3, "E-DATA-BOTH")(lambda: {"w.bin": FOUR, "model.onnx": one(
    FLOAT, [4], blob(13, entry("location", "w.bin")) + raw(FOUR))})
row("X15-twice", 3, "E-EXT-KEY")(lambda: outside(("location", "w.bin"), ("location", "w.bin")))
row("X15-unknown", 0, commands="info")(lambda: outside(("location", "w.bin"), ("__class__", "x")))
row("X16", 6, "E-OPEN")(lambda: located("absent.bin"))
row("X17", 3, "E-EXT-SUM")(lambda: outside(("location", "w.bin"), ("checksum", "0" * 40)))
row("X17-right", 0, commands="info")(lambda: outside(
    ("location", "w.bin"), ("checksum", hashlib.sha1(FOUR).hexdigest())))
row("X18-nul", 3, "E-STR-NUL")(lambda: located("w.bin\0x"))
row("X18-newline", 6, r"E-OPEN.*\\n")(lambda: located("w\n.bin"))
row("X18-long", 5, "E-LIMIT-PATH")(lambda: located("d/" * 2500 + "w"))
row("X18-many", 5, "E-LIMIT-EXTERNAL")(lambda: {
    **{f"w{i}.bin": FOUR for i in range(1100)}, "model.onnx": model(graph(*[
        blob(INITIALIZER, tensor(f"w{i}", FLOAT, [4], external(("location", f"w{i}.bin"))))
        for i in range(1100)]))})
row("X-overlap", 3, "E-EXT-OVERLAP")(lambda: {"w.bin": FOUR, "model.onnx": model(graph(*[
    blob(INITIALIZER, tensor(f"w{i}", FLOAT, [2], external(("location", "w.bin"),
                                                           ("offset", str(i)))))
    for i in (0, 4)]))})
row("X-shared", 0, commands="info")(lambda: {"w.bin": FOUR, "model.onnx": model(graph(*[
    blob(INITIALIZER, tensor(f"w{i}", FLOAT, [4], external(("location", "w.bin"))))
    for i in range(2)]))})
row("X-constant", 3, "E-EXT-PATH")(lambda: with_node(node("Constant", [], ["z"], attribute(
    "value", A_TENSOR, blob(5, tensor("c", FLOAT, [4], external(("location", "../w.bin"))))))))


# R: what only running shows


def fed(*nodes, constants=(), shape=(2, 3), output="z", opset_version=17):
    """x of a fixed shape -> nodes -> output."""
    return integer(1, 8) + opset("", opset_version) + blob(GRAPH, b"".join(
        blob(1, n) for n in nodes) + blob(2, "g") + blob(INPUT, value_info("x", shape)) +
        blob(OUTPUT, value_info(output)) + b"".join(blob(INITIALIZER, c) for c in constants))


def ints(name, *numbers, dims=None):
    return tensor(name, INT64, [len(numbers)] if dims is None else dims,
                  raw(struct.pack(f"<{len(numbers)}q", *numbers)))


def floats(name, *numbers, dims=None):
    return tensor(name, FLOAT, [len(numbers)] if dims is None else dims,
                  raw(struct.pack(f"<{len(numbers)}f", *numbers)))


def int_attribute(name, number):
    return attribute(name, A_INT, integer(3, number))


def ints_attribute(name, *numbers):
    return attribute(name, A_INTS, b"".join(integer(8, n) for n in numbers))


def running(identity, exit_code, expected, build, arguments="", commands="interpret"):
    row(identity, exit_code, expected, commands, arguments)(build)


def operator_row(identity, exit_code, expected, op_type, inputs, constants, *attributes, **more):
    running(identity, exit_code, expected, lambda: fed(
        node(op_type, inputs, ["z"], *attributes, name="suspect"), constants=constants, **more))


MIN, MAX, BIG = -1 << 63, (1 << 63) - 1, 1 << 60
MEMORY = "E-LIMIT-MEM.*suspect"
operator_row("R01-2e60", 5, MEMORY, "ConstantOfShape", ["s"], [ints("s", BIG)])
operator_row("R01-terabytes", 5, MEMORY, "ConstantOfShape", ["s"], [ints("s", 17592186044800)])
operator_row("R01-overflow", 3, "E-SHAPE-OVERFLOW.*suspect", "ConstantOfShape", ["s"],
             [ints("s", 1 << 40, 1 << 40)])
operator_row("R01-negative", 3, "E-", "ConstantOfShape", ["s"], [ints("s", -1)])
operator_row("R02-expand", 5, MEMORY, "Expand", ["x", "s"], [ints("s", 1 << 40, 2, 3)])
operator_row("R02-tile", 5, MEMORY, "Tile", ["x", "s"], [ints("s", 1 << 40, 1)])
operator_row("R02-tile-wraps", 3, "E-SHAPE-OVERFLOW.*suspect", "Tile", ["x", "s"],
             [ints("s", MAX, MAX)])
operator_row("R02-pad", 5, MEMORY, "Pad", ["x", "s"], [ints("s", 1 << 40, 0, 0, 0)])
operator_row("R02-pad-wraps", 3, "E-SHAPE-OVERFLOW.*suspect", "Pad", ["x", "s"],
             [ints("s", MAX, 0, MAX, 0)])
operator_row("R02-one-hot", 3, "E-SHAPE-OVERFLOW.*suspect", "OneHot", ["i", "d", "v"],
             [ints("i", 0, 1), ints("d", BIG, dims=[]), floats("v", 0, 1)])
operator_row("R02-range", 3, "E-SHAPE-OVERFLOW.*suspect", "Range", ["a", "b", "c"],
             [ints("a", 0, dims=[]), ints("b", MAX, dims=[]), ints("c", 1, dims=[])])
operator_row("R02-range-0", 3, "E-", "Range", ["a", "b", "c"],
             [ints("a", 0, dims=[]), ints("b", 5, dims=[]), ints("c", 0, dims=[])])
running("R02-range-nan", 3, "E-", lambda: fed(
    node("Range", ["a", "b", "c"], ["z"], name="suspect"),
    constants=[floats("a", 0, dims=[]), floats("b", 5, dims=[]), floats("c", NAN, dims=[])]),
    "--nonfinite=keep")
operator_row("R02-resize", 3, "E-SHAPE-OVERFLOW.*suspect", "Resize", ["x", "", "f"],
             [floats("f", 1e12, 1e6)])


def loop(trips, *body_nodes, carried="h"):
    body = (b"".join(blob(1, n) for n in body_nodes) + blob(2, "b") +
            blob(INPUT, value_info("i", [], INT64)) + blob(INPUT, value_info("c", [], BOOL)) +
            blob(INPUT, value_info(carried)) + blob(OUTPUT, value_info("go", [], BOOL)) +
            blob(OUTPUT, value_info("next")))
    return fed(node("Loop", ["n", "", "x"], ["z"], attribute("body", A_GRAPH, blob(6, body)),
                    name="suspect"), constants=[ints("n", trips, dims=[])])


def idle(trips):
    return loop(trips, node("Identity", ["c"], ["go"]), node("Relu", ["h"], ["next"]))


running("R03-timeout", 5, "E-LIMIT-TIME.*while the model ran", lambda: idle(MAX), "--timeout 1",
        commands="interpret,w8,w8a8")
running("R03-looked-at", 0, "", lambda: idle(MAX), commands="info")
running("R03-few", 0, "", lambda: idle(1000))
running("R03-grows", 5, "E-LIMIT-MEM", lambda: loop(
    MAX, node("Identity", ["c"], ["go"]), node("Concat", ["h", "h"], ["next"],
                                               int_attribute("axis", 0))), "--max-memory 64MiB")

operator_row("R04-two", 3, "E-SHAPE", "Reshape", ["x", "s"], [ints("s", -1, -1)])
operator_row("R04-product", 3, "E-SHAPE", "Reshape", ["x", "s"], [ints("s", 4, 2)])
operator_row("R04-negative", 3, "E-", "Reshape", ["x", "s"], [ints("s", -2, 3)])
operator_row("R04-wraps", 3, "E-", "Reshape", ["x", "s"], [ints("s", 1 << 62, 1 << 62, -1)])

IMAGE = {"shape": (1, 4, 5, 5)}
KERNEL = [floats("w", *[0.5] * 144, dims=[4, 4, 3, 3])]
for _suffix, _attributes in (
        ("stride", ints_attribute("strides", 0, 1)),
        ("dilation", ints_attribute("dilations", 0, 1)),
        ("pads", ints_attribute("pads", -9, 0, 0, 0)),
        ("pads-huge", ints_attribute("pads", MAX, MAX, MAX, MAX)),
        ("stride-min", ints_attribute("strides", MIN, MIN)),
        ("group-0", int_attribute("group", 0)), ("group-3", int_attribute("group", 3)),
        ("group-min", int_attribute("group", MIN)),
        ("rank", ints_attribute("strides", 1, 1, 1)),
        ("kernel", ints_attribute("kernel_shape", 7, 7))):
    operator_row(f"R05-conv-{_suffix}", 3, "E-(ATTR-VALUE|SHAPE|ATTR)", "Conv", ["x", "w"], KERNEL,
                 _attributes, **IMAGE)
operator_row("R05-conv-large", 3, "E-", "Conv", ["x", "w"],
             [floats("w", *[0.5] * 196, dims=[1, 4, 7, 7])], **IMAGE)
operator_row("R05-conv-channels", 3, "E-", "Conv", ["x", "w"],
             [floats("w", *[0.5] * 27, dims=[1, 3, 3, 3])], **IMAGE)
operator_row("R05-conv-matrix", 3, "E-", "Conv", ["x", "w"], KERNEL)
for _suffix, _attributes in (
        ("stride", (ints_attribute("kernel_shape", 2, 2), ints_attribute("strides", 0, 0))),
        ("kernel-0", (ints_attribute("kernel_shape", 0, 2),)),
        ("rank", (ints_attribute("kernel_shape", 2),)),
        ("large", (ints_attribute("kernel_shape", 9, 9),)),
        ("none", ())):
    operator_row(f"R05-pool-{_suffix}", 3, "E-", "MaxPool", ["x"], [], *_attributes, **IMAGE)

operator_row("R06-split-0", 3, "E-", "Split", ["x", "s"], [ints("s", 0, 0)])
operator_row("R06-split-sum", 3, "E-", "Split", ["x", "s"], [ints("s", 1)],
             int_attribute("axis", 1))
operator_row("R06-split-negative", 3, "E-", "Split", ["x", "s"], [ints("s", -1)])
for _op in ("Softmax", "LogSoftmax", "Flatten", "ArgMax", "LpNormalization", "Hardmax"):
    for _suffix, _axis in (("rank", 3), ("below", -9), ("min", MIN), ("max", MAX)):
        operator_row(f"R06-{_op.lower()}-{_suffix}", 3, "E-AXIS|E-ATTR-VALUE", _op, ["x"], [],
                     int_attribute("axis", _axis))
operator_row("R06-layer-normalization", 3, "E-", "LayerNormalization", ["x", "s"],
             [floats("s", 1, 1, 1)], int_attribute("axis", -9))
operator_row("R06-concat", 3, "E-AXIS", "Concat", ["x", "x"], [], int_attribute("axis", 2))
operator_row("R06-transpose", 3, "E-", "Transpose", ["x"], [], ints_attribute("perm", 1, 1))
operator_row("R06-transpose-min", 3, "E-", "Transpose", ["x"], [], ints_attribute("perm", MIN, 0))
operator_row("R06-squeeze", 3, "E-", "Squeeze", ["x", "s"], [ints("s", 7)])
operator_row("R06-unsqueeze", 3, "E-", "Unsqueeze", ["x", "s"], [ints("s", MAX)])

for _suffix, _index in (("above", 2), ("below", -3), ("max", MAX), ("min", MIN)):
    operator_row(f"R07-gather-{_suffix}", 3, "E-INDEX", "Gather", ["x", "i"], [ints("i", _index)])
    operator_row(f"R07-elements-{_suffix}", 3, "E-INDEX", "GatherElements", ["x", "i"],
                 [ints("i", _index, dims=[1, 1])])
    operator_row(f"R07-nd-{_suffix}", 3, "E-INDEX", "GatherND", ["x", "i"],
                 [ints("i", _index, dims=[1, 1])])
    operator_row(f"R07-scatter-{_suffix}", 3, "E-INDEX", "ScatterElements", ["x", "i", "u"],
                 [ints("i", _index, dims=[1, 1]), floats("u", 1, dims=[1, 1])])
    operator_row(f"R07-scatter-nd-{_suffix}", 3, "E-INDEX", "ScatterND", ["x", "i", "u"],
                 [ints("i", _index, 0, dims=[1, 2]), floats("u", 1)])


def whole(identity, op_type, a, b, *attributes):
    """Two int64 constants, with the arithmetic left to the run: a defined result, never a trap."""
    running(identity, 0, "", lambda: fed(
        node("Cast", ["x"], ["i"], int_attribute("to", INT64)), node("Mul", ["i", "zero"], ["o"]),
        node("Add", ["o", "a"], ["p"]), node(op_type, ["p", "b"], ["z"], *attributes,
                                             name="suspect"),
        constants=[ints("zero", 0), ints("a", a), ints("b", b)]))


whole("R08-div-zero", "Div", 7, 0)
whole("R08-mod-zero", "Mod", 7, 0)
whole("R08-div-min", "Div", MIN, -1)
whole("R08-mod-min", "Mod", MIN, -1)
whole("R08-fmod-min", "Mod", MIN, -1, int_attribute("fmod", 1))
whole("R08-mul", "Mul", MIN, -1)
whole("R08-pow", "Pow", 10, 400)
running("R08-shift", 0, "", lambda: fed(
    node("Cast", ["x"], ["i"], int_attribute("to", UINT64)),
    node("BitShift", ["i", "b"], ["z"], attribute("direction", A_STRING, blob(4, "LEFT"))),
    constants=[tensor("b", UINT64, [1], raw(struct.pack("<Q", 200)))]))
for _name, _type in (("int8", INT8), ("uint8", UINT8), ("int32", INT32), ("int64", INT64),
                     ("uint64", UINT64), ("bool", BOOL), ("half", FLOAT16)):
    running(f"R08-cast-{_name}", 0, "", lambda t=_type: fed(
        node("Log", ["x"], ["l"]), node("Mul", ["l", "m"], ["h"]),
        node("Cast", ["h"], ["z"], int_attribute("to", t)),
        constants=[floats("m", 1e30)]))

for _suffix, _exit, _starts, _ends, _steps in (
        ("min", 0, MIN, MAX, 1), ("back", 0, MAX, MIN, -1), ("step-min", 0, MAX, MIN, MIN),
        ("step-max", 0, MIN, MAX, MAX), ("step-0", 3, 0, 2, 0)):
    operator_row(f"R09-{_suffix}", _exit, "E-" if _exit else "", "Slice",
                 ["x", "s", "e", "a", "t"], [ints("s", _starts), ints("e", _ends), ints("a", 0),
                                             ints("t", _steps)])
operator_row("R09-axis", 3, "E-", "Slice", ["x", "s", "e", "a"],
             [ints("s", 0), ints("e", 1), ints("a", 5)])
operator_row("R09-lengths", 3, "E-", "Slice", ["x", "s", "e"], [ints("s", 0, 0), ints("e", 1)])

operator_row("R10", 3, "E-BROADCAST", "Add", ["x", "w"], [floats("w", 1, 2)])
operator_row("R10-where", 3, "E-BROADCAST", "Where", ["c", "x", "w"],
             [floats("w", 1, 2), tensor("c", BOOL, [1], raw(b"\1"))])
operator_row("R10-matmul", 3, "E-", "MatMul", ["x", "w"], [floats("w", 1, 2, dims=[2, 1])])
operator_row("R10-ranks", 0, "", "Add", ["x", "w"], [floats("w", 1, dims=[1] * 8)])


def nested_ifs(levels):
    """Both branches of every level hold the next one: 2 ** levels ways, of which one is run."""
    inner = graph(nodes=(node("Relu", ["x"], [f"b{levels}"]),), inputs=(),
                  outputs=(f"b{levels}",))
    for level in range(levels, 0, -1):
        other = graph(nodes=(node("Neg", ["x"], [f"e{level}"]),), inputs=(),
                      outputs=(f"e{level}",))
        inner = graph(nodes=(node("If", ["c"], [f"b{level - 1}"], attribute(
            "then_branch", A_GRAPH, blob(6, inner)), attribute(
                "else_branch", A_GRAPH, blob(6, other))),), inputs=(), outputs=(f"b{level - 1}",))
    return fed(node("If", ["c"], ["z"], attribute("then_branch", A_GRAPH, blob(6, inner)),
                    attribute("else_branch", A_GRAPH, blob(6, graph(
                        nodes=(node("Neg", ["x"], ["n"]),), inputs=(), outputs=("n",))))),
               constants=[tensor("c", BOOL, [], raw(b"\1"))])


running("R12", 0, "", lambda: nested_ifs(28), commands="info,interpret,w8")

# G and C, as far as only running or compressing shows them
running("G09", 3, "E-ARITY", lambda: fed(node("Add", ["", "x"], ["z"], name="suspect")))
for variadic in ("Max", "Sum", "Concat"):
    running(f"G09-{variadic.lower()}", 3, "E-ARITY.*input 1", lambda kind=variadic: fed(
        node(kind, ["x", "", "x"], ["z"], *([int_attribute("axis", 0)] if kind == "Concat" else []),
             name="suspect")))
running("G10-few", 3, "E-ARITY", lambda: fed(node("Add", ["x"], ["z"], name="suspect")))
running("G10-many", 3, "E-ARITY", lambda: fed(node("Relu", ["x", "x"], ["z"], name="suspect")))
running("G18-if", 3, "E-SUBGRAPH", lambda: fed(
    node("If", ["c"], ["z"], attribute("then_branch", A_GRAPH, blob(6, graph(
        nodes=(node("Relu", ["x"], ["t"]),), inputs=(), outputs=("t", "t")))),
         attribute("else_branch", A_GRAPH, blob(6, graph(
             nodes=(node("Neg", ["x"], ["n"]),), inputs=(), outputs=("n",)))), name="suspect"),
    constants=[tensor("c", BOOL, [], raw(b"\1"))]))
running("G18-loop", 3, "E-SUBGRAPH", lambda: fed(
    node("Loop", ["n", "", "x"], ["z"], attribute("body", A_GRAPH, blob(6, graph(
        nodes=(node("Relu", ["i"], ["t"]),), inputs=("i",), outputs=("t",)))), name="suspect"),
    constants=[ints("n", 3, dims=[])]))
NAN_INSIDE = fed(node("Neg", ["x"], ["m"]), node("Mul", ["x", "m"], ["k"]),
                 node("Sub", ["k", "one"], ["l"]), node("Log", ["l"], ["n"]),
                 node("MatMul", ["n", "w"], ["z"]),
                 constants=[floats("one", 1), floats("w", *[0.01 * i for i in range(3 * 64)],
                                                     dims=[3, 64])])
running("C06", 8, "E-CALIB-NONFINITE.*output \"z\"", lambda: NAN_INSIDE,
        commands="w8a8,compare")
running("C06-gradients", 8, "E-CALIB-NONFINITE.*\"w\"", lambda: NAN_INSIDE,
        commands="sensitivity")
running("C06-forward", 8, "E-CALIB-NONFINITE.*output \"z\"", lambda: NAN_INSIDE,
        commands="sensitivity", arguments="--estimator forward")

# ---- writing ---------------------------------------------------------------------------------


def write_file(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if isinstance(content, bytes):
        with open(path, "wb") as file:
            file.write(content)
    elif content[0] == "fifo":
        os.mkfifo(path)
    elif content[0] == "directory":
        os.mkdir(path)
    elif content[0] == "link":
        os.symlink(content[1], path)
    elif content[0] == "hardlink":
        os.link(os.path.join(os.path.dirname(path), content[1]), path)


def write_row(directory, identity, build):
    built = build()
    files = built if isinstance(built, dict) else {"model.onnx": built}
    os.makedirs(os.path.join(directory, identity))
    # Plain files first, so that hard links find them.
    for name in sorted(files, key=lambda n: not isinstance(files[n], bytes)):
        write_file(os.path.join(directory, identity, name), files[name])


def manifest():
    lines = ["# id\tfile\tcommands\targuments\texit\tpattern of the error line"]
    for identity, _, commands, arguments, exit_code, expected in ROWS:
        lines.append("\t".join((identity, f"{identity}/model.onnx", commands, arguments or "-",
                                str(exit_code), expected or "-")))
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] == ["--manifest"]:
        sys.stdout.write(manifest())
        return
    if len(sys.argv) != 2:
        sys.exit("usage: make_models.py DIRECTORY | --manifest")
    for identity, build, *_ in ROWS:
        write_row(sys.argv[1], identity, build)


if __name__ == "__main__":
    main()
