"""Models with functions of their own, which the command replaces by their bodies: attributes handed
in and defaults, functions in functions and in bodies of If, an older opset and another domain."""

import numpy as np
from onnx import parser

RANDOM = np.random.default_rng(22)
X = RANDOM.standard_normal((3, 4)).astype(np.float32)

SCALED = """<domain: "local", opset_import: ["" : 17, "local" : 1]>
scaled <alpha: float = 0.7> (x, s) => (r) {
  a = LeakyRelu <alpha: float = @alpha> (x)
  b = Sigmoid (a)
  r = Mul (b, a)
}
"""

ATTRIBUTES = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
main (float[3,4] x, float[3,4] s) => (float[3,4] y, float[3,4] z) {
  a = local.scaled <alpha = 0.3> (x, s)
  b = local.twice (a)
  c, y = local.both (b, a)
  t = local.scaled (x)
  z = Add (t, c)
}
""" + SCALED + """<domain: "local", opset_import: ["" : 17, "local" : 1]>
twice (x) => (r) {
  a = local.scaled <alpha = 0.1> (x)
  c = Constant <value_float = 2.0> ()
  r = Mul (a, c)
}
<domain: "local", opset_import: ["" : 17]>
both (x, b) => (r, q) {
  q = Relu (b)
  r = Add (q, x)
}
"""

BODIES = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
main (float[3,4] x, bool c) => (float[3,4] y) {
  a = local.pick (c, x)
  y = If (c) < then_branch = one () => (float[3,4] r) { r = local.pick (c, a) },
               else_branch = two () => (float[3,4] r) { r = Neg (a) } >
}
<domain: "local", opset_import: ["" : 17, "local" : 1]>
pick (condition, x) => (y) {
  a = Tanh (x)
  y = If (condition) <
    then_branch = one () => (float[3,4] r) { t = Relu (a)
      r = local.square (t) },
    else_branch = two () => (float[3,4] r) { r = Neg (a) } >
}
<domain: "local", opset_import: ["" : 17]>
square (x) => (y) { y = Mul (x, x) }
"""

OPSETS = """<ir_version: 8, opset_import: ["" : 18, "local" : 1]>
main (float[3,4] x) => (float[3,4] y) {
  a = local.f (x)
  y = Relu (a)
}
<domain: "local", opset_import: ["" : 13, "com.microsoft" : 1]>
f (x) => (y) {
  a = Sigmoid (x)
  y = com.microsoft.FastGelu (a)
}
"""


def every():
    """(name, model, inputs)"""
    yield "function_attributes", parser.parse_model(ATTRIBUTES), [X, X + 1]
    for condition in (True, False):
        model = parser.parse_model(BODIES)
        yield f"function_bodies_{condition}", model, [X, np.array(condition)]
    yield "function_opsets", parser.parse_model(OPSETS), [X]
