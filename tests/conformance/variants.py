"""Nodes in the many ways that their attributes combine: Resize, the recurrent layers, Loop, Scan,
If and sequences. The same rows as old_forms.py, drawn with a fixed seed."""

import itertools

import numpy as np
from onnx import helper

from old_forms import BOOL, FLOAT, INT64, form

RANDOM = np.random.default_rng(21)
PLACES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_crop_and_resize"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def floats(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


# ---- Resize ----


def size_inputs(place, by_sizes):
    """roi, scales, sizes for [1, 2, 5, 6], both axes of the picture resized."""
    crops = place == "tf_crop_and_resize"
    roi = np.array([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1], np.float32) if crops else None
    # Where an axis keeps its size ONNX Runtime forgets its region.
    factors = RANDOM.choice([0.4, 0.6, 1.4, 2.0, 2.5] + [1.0] * (not crops), 2)
    if not by_sizes:
        return roi, np.array([1, 1, *factors], np.float32), None
    sizes = [max(1, int(n * f)) for n, f in zip((5, 6), factors)]
    return roi, None, np.array([1, 2, *sizes])


def resize_attributes(mode, place):
    attributes = {"mode": mode, "coordinate_transformation_mode": place}
    if mode == "nearest":
        attributes["nearest_mode"] = str(RANDOM.choice(NEAREST))
    if mode == "cubic":
        attributes["cubic_coeff_a"] = float(RANDOM.choice([-0.75, -0.5]))
        attributes["exclude_outside"] = int(RANDOM.integers(2))
    if place == "tf_crop_and_resize":
        attributes["extrapolation_value"] = 0.25
    return attributes


def resizes():
    for mode, place, by_sizes, _ in itertools.product(
            ("nearest", "linear", "cubic"), PLACES, (False, True), range(4)):
        for opset in (11, 13, 18, 19):
            if place == "half_pixel_symmetric" and opset < 19:
                continue
            inputs = [floats(1, 2, 5, 6), *size_inputs(place, by_sizes)]
            if opset < 13:  # roi and scales are required
                inputs = [np.array([], np.float32) if i in (1, 2) and v is None else v
                          for i, v in enumerate(inputs)]
            yield form(f"{mode}_{place}", opset, "Resize", inputs,
                       **resize_attributes(mode, place))


def smooth_resizes():
    for mode, place, by_sizes, _ in itertools.product(
            ("linear", "cubic"), PLACES[:5], (False, True), range(3)):
        inputs = [floats(1, 2, 5, 6), *size_inputs(place, by_sizes)]
        yield form(f"antialias_{mode}_{place}", 19, "Resize", inputs, antialias=1,
                   **resize_attributes(mode, place))


def partial_resizes():
    for mode, policy in itertools.product(("nearest", "linear", "cubic"),
                                          ("stretch", "not_larger", "not_smaller")):
        sizes = RANDOM.integers(3, 12, 2)
        yield form(f"axes_{mode}_{policy}", 18, "Resize", [floats(1, 2, 5, 6), None, None, sizes],
                   mode=mode, axes=[2, 3], keep_aspect_ratio_policy=policy)
        yield form(f"turned_{mode}_{policy}", 19, "Resize",
                   [floats(1, 2, 5, 6), None, None, sizes], mode=mode, axes=[3, 2],
                   keep_aspect_ratio_policy=policy)
    for mode in ("nearest", "linear"):
        scale = np.array([1.7], np.float32)
        yield form(f"one_axis_{mode}", 18, "Resize", [floats(2, 5, 3), None, scale], mode=mode,
                   axes=[1])
        yield form(f"volume_{mode}", 13, "Resize",
                   [floats(1, 1, 3, 4, 5), None, np.array([1, 1, 2, 0.5, 1.5], np.float32)],
                   mode=mode)


# ---- recurrent layers ----

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}  # for each direction
ACTIVATIONS = ["Tanh", "Sigmoid", "Relu", "HardSigmoid", "Softsign", "Softplus", "Affine",
               "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "Elu"]
ALPHAS = {"HardSigmoid": 0.3, "Affine": 0.8, "LeakyRelu": 0.05, "ThresholdedRelu": 0.4,
          "ScaledTanh": 1.2, "Elu": 0.7}
BETAS = {"HardSigmoid": 0.6, "Affine": 0.1, "ScaledTanh": 0.9}
TIME, BATCH, SIZE, HIDDEN = 4, 3, 5, 6


def recurrent_inputs(kind, directions, given):
    rows = GATES[kind] * HIDDEN
    state = (directions, BATCH, HIDDEN)
    inputs = [floats(TIME, BATCH, SIZE), floats(directions, rows, SIZE) * np.float32(0.2),
              floats(directions, rows, HIDDEN) * np.float32(0.2),
              floats(directions, 2 * rows) if "bias" in given else None,
              np.array([4, 1, 3], np.int32) if "lengths" in given else None,
              floats(*state) if "state" in given else None]
    if kind == "LSTM":
        inputs += [floats(*state) if "state" in given else None,
                   floats(directions, 3 * HIDDEN) if "peepholes" in given else None]
    return inputs


def recurrent_form(kind, direction, given, **attributes):
    count = 2 if direction == "bidirectional" else 1
    types = [FLOAT] * (3 if kind == "LSTM" else 2)
    name = "_".join([direction, *sorted(given), *sorted(attributes)])
    return form(name, attributes.pop("opset", 14), kind, recurrent_inputs(kind, count, given),
                types, direction=direction, hidden_size=HIDDEN, **attributes)


def activations(names):
    """With values for all that take some: three defaults of ONNX Runtime are its own."""
    lists = {"activation_alpha": [ALPHAS[n] for n in names if n in ALPHAS],
             "activation_beta": [BETAS[n] for n in names if n in BETAS]}
    return {"activations": names} | {key: values for key, values in lists.items() if values}


def recurrent():
    directions = ("forward", "reverse", "bidirectional")
    for kind, direction in itertools.product(GATES, directions):
        count = FUNCTIONS[kind] * (2 if direction == "bidirectional" else 1)
        extra = {"peepholes"} if kind == "LSTM" else set()
        for opset in (7, 14, 22):
            yield recurrent_form(kind, direction, {"bias"}, opset=opset)
        yield recurrent_form(kind, direction, {"lengths"})
        yield recurrent_form(kind, direction, {"bias", "state", "lengths"} | extra)
        yield recurrent_form(kind, direction, {"bias", "state"}, clip=0.5)
        for _ in range(6):
            names = [str(a) for a in RANDOM.choice(ACTIVATIONS, count)]
            yield recurrent_form(kind, direction, {"bias"}, **activations(names))
        if kind == "GRU":
            yield recurrent_form(kind, direction, {"bias", "lengths"}, linear_before_reset=1)
        if kind == "LSTM":
            yield recurrent_form(kind, direction, {"bias"}, input_forget=1)


# ---- control flow ----


def graph(nodes, inputs, outputs):
    """Nodes as (type, inputs, outputs, attributes); values as (name, type, shape)."""
    infos = [[helper.make_tensor_value_info(*value) for value in side]
             for side in (inputs, outputs)]
    return helper.make_graph([helper.make_node(t, i, o, **a) for t, i, o, a in nodes], "body",
                             *infos)


def counting_body(growing):
    """Carries x; goes on while the sum of |x| is below 20; scans x and the step."""
    shape = ["n"] if growing else [2]
    step = [("Concat", ["x", "one"], ["next"], {"axis": 0})] if growing else [
        ("Add", ["x", "one"], ["next"], {})]
    return graph(
        [("Constant", [], ["one"], {"value_floats": [1.0] * (1 if growing else 2)}), *step,
         ("ReduceL1", ["next"], ["size"], {"keepdims": 0}),
         ("Constant", [], ["limit"], {"value_float": 20.0}),
         ("Less", ["size", "limit"], ["more"], {}),
         ("Identity", ["size"], ["seen"], {}), ("Identity", ["step"], ["count"], {})],
        [("step", INT64, []), ("going", BOOL, []), ("x", FLOAT, shape)],
        [("more", BOOL, []), ("next", FLOAT, shape), ("seen", FLOAT, []), ("count", INT64, [])])


def loops():
    for growing, trips, going in itertools.product(
            (False, True), (None, 0, 3, 50), (None, True, False)):
        if trips is None and going is None and growing:
            continue
        inputs = [None if trips is None else np.array(trips),
                  None if going is None else np.array(going), np.array([0.5, 1.5], np.float32)]
        yield form(f"growing{growing}_{trips}_{going}", 13, "Loop", inputs, [FLOAT, FLOAT, INT64],
                   body=counting_body(growing))


def scans():
    body = graph([("Add", ["sum", "a"], ["next"], {}), ("Mul", ["next", "b"], ["y"], {}),
                  ("Sub", ["a", "b"], ["z"], {})],
                 [("sum", FLOAT, [2]), ("a", FLOAT, [2]), ("b", FLOAT, [2])],
                 [("next", FLOAT, [2]), ("y", FLOAT, [2]), ("z", FLOAT, [2])])
    for opset, axis, backwards, out_axis in itertools.product((9, 11, 16, 21), (0, 1), (0, 1),
                                                              (0, 1)):
        a, b = floats(*((2, 5) if axis else (5, 2))), floats(5, 2)
        yield form(f"axis{axis}_{backwards}_{out_axis}", opset, "Scan", [floats(2), a, b],
                   [FLOAT] * 3, body=body, num_scan_inputs=2, scan_input_axes=[axis, 0],
                   scan_input_directions=[backwards, 0], scan_output_axes=[out_axis, 0],
                   scan_output_directions=[0, backwards])
    for lengths in (None, np.array([5, 3, 1])):
        for backwards in (0, 1):
            yield form(f"batches_{backwards}", 8, "Scan",
                       [lengths, floats(3, 2), floats(3, 5, 2), floats(3, 5, 2)], [FLOAT] * 3,
                       body=body, num_scan_inputs=2, directions=[backwards, 0])


def branches():
    def branch(kind, value):
        tensor = helper.make_tensor(kind, FLOAT, [len(value)], value)
        return graph([("Constant", [], [kind], {"value": tensor})], [],
                     [(kind, FLOAT, [len(value)])])

    for opset, condition in itertools.product((7, 11, 13, 16, 19, 21, 23, 25), (True, False)):
        other = [3.0] if opset > 7 else [3.0, 4.0]  # from 11 on the shapes may differ
        yield form(str(condition), opset, "If", [np.array(condition)],
                   then_branch=branch("t", [1.0, 2.0]), else_branch=branch("e", other))


# ---- sequences: inside the branch of an If, which has tensors alone around it ----


def constant(name, array):
    array = np.asarray(array)
    tensor = helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape,
                                array.flatten())
    return "Constant", [], [name], {"value": tensor}


def inside_if(opset, name, nodes, types=(FLOAT,)):
    outputs = [(f"r{i}", t, None) for i, t in enumerate(types)]
    same = graph(nodes, [], outputs), graph(nodes, [], outputs)
    return form(name, opset, "If", [np.array(True)], types, then_branch=same[0],
                else_branch=same[1])


def listed(opset):
    """Construct, Insert at both ends, Erase, At, Length and Concat along an axis and a new one."""
    yield inside_if(opset, "list", [
        constant("a", floats(2, 3)), constant("b", floats(2, 3)), constant("c", floats(2, 3)),
        constant("first", np.array(0)), constant("last", np.array(-1)),
        ("SequenceConstruct", ["a", "b"], ["s"], {}),
        ("SequenceInsert", ["s", "c"], ["t"], {}),
        ("SequenceInsert", ["t", "b", "first"], ["u"], {}),
        ("SequenceErase", ["u", "last"], ["v"], {}),
        ("SequenceErase", ["u"], ["w"], {}),
        ("SequenceAt", ["v", "last"], ["r0"], {}),
        ("SequenceLength", ["w"], ["r1"], {}),
        ("ConcatFromSequence", ["w"], ["r2"], {"axis": -1}),
        ("ConcatFromSequence", ["u"], ["r3"], {"axis": 1, "new_axis": 1})],
        [FLOAT, INT64, FLOAT, FLOAT])


def parted(opset):
    for name, split, attributes in (
            ("ones", None, {"axis": 1}), ("dropped", None, {"axis": 1, "keepdims": 0}),
            ("equal", np.array(2), {"axis": -1}), ("sizes", np.array([1, 0, 4]), {"axis": 1})):
        splits = [] if split is None else ["split"]
        yield inside_if(opset, name, [
            constant("x", floats(2, 5)), constant("at", np.array(0)),
            *([] if split is None else [constant("split", split)]),
            ("SplitToSequence", ["x", *splits], ["s"], attributes),
            ("SequenceAt", ["s", "at"], ["r0"], {}), ("SequenceLength", ["s"], ["r1"], {})],
            [FLOAT, INT64])


def grown(opset):
    """What exporters write for a list that a loop fills."""
    info = helper.make_tensor_sequence_value_info
    body = graph([("Cast", ["i"], ["f"], {"to": FLOAT}), ("Mul", ["x", "f"], ["y"], {}),
                  ("SequenceInsert", ["s", "y"], ["next"], {}),
                  ("Identity", ["going"], ["still"], {})],
                 [("i", INT64, []), ("going", BOOL, [])], [("still", BOOL, [])])
    body.input.append(info("s", FLOAT, None))
    body.output.append(info("next", FLOAT, None))
    yield inside_if(opset, "grown", [
        constant("x", floats(2)), constant("trips", np.array(4)), constant("go", np.array(True)),
        ("SequenceEmpty", [], ["empty"], {}),
        ("Loop", ["trips", "go", "empty"], ["all"], {"body": body}),
        ("ConcatFromSequence", ["all"], ["r0"], {"axis": 0})])


def optional(opset):
    yield inside_if(opset, "optional", [
        constant("a", floats(2, 3)), ("Optional", ["a"], ["o"], {}),
        ("OptionalHasElement", ["o"], ["r0"], {}), ("OptionalGetElement", ["o"], ["r1"], {})],
        [BOOL, FLOAT])


def mapped(opset):
    body = graph([("Mul", ["u", "v"], ["w"], {}), ("Add", ["w", "q"], ["z"], {})],
                 [("u", FLOAT, [2]), ("v", FLOAT, [2]), ("q", FLOAT, [2])], [("z", FLOAT, [2])])
    yield inside_if(opset, "mapped", [
        constant("a", floats(2)), constant("b", floats(2)),
        ("SequenceConstruct", ["a", "b"], ["s"], {}), ("SequenceConstruct", ["b", "b"], ["t"], {}),
        ("SequenceMap", ["s", "t", "a"], ["m"], {"body": body}),
        ("ConcatFromSequence", ["m"], ["r0"], {"axis": 0})])


def sequences():
    for opset in (15, 18):
        yield from optional(opset)
    for opset in (17, 21):
        yield from mapped(opset)
    for opset in (11, 13, 16, 21, 24):
        yield from listed(opset)
        yield from parted(opset)
        if opset >= 13:
            yield from grown(opset)


def every():
    for group in (resizes, smooth_resizes, partial_resizes, recurrent, loops, scans, branches,
                  sequences):
        yield from group()
