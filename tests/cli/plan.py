"""plan.py - onnxpress plan and the targets of compress as a user meets them: files that fit what
was asked, plans replayed to the same bytes and edited by hand, what cannot be met, what is refused.

`stages(t)` gives the stages that tests/cli/run runs; `t` is its names: run, check, expect_error,
inside, read, net, calibration.
"""
import csv
import json
import os
import random
import xml.dom.minidom

TARGETS = 24  # of the network; the library's own tests ask for 200 of a smaller one


def stages(t):
    run, check, expect_error, inside = t.run, t.check, t.expect_error, t.inside
    target = "compress {net} --data {cal} --force -q -o "
    source = os.path.getsize(t.net)

    def load(name):
        with open(inside(name)) as file:
            return json.load(file)

    def plans():
        r = run("plan {net} --data {cal} --target-size 20% -o p.json --csv p.csv --report p.html"
                " --json full.json")
        check("plan", r.returncode == 0, r.stderr)
        full, plan = load("full.json"), load("p.json")
        check("the plan is the report's", full["plan"] == plan["plan"] and "frontier" not in plan)
        check("it fits", plan["bytes"] <= source * 20 // 100 == plan["target"]["bytes"])
        check("the gap is stated", 0 <= plan["gap"] < 0.05
              and plan["dual_bound"] <= plan["additive_loss"], plan)
        loss = plan["loss"]
        check("predicted beside measured", loss["low"] <= loss["measured"] <= loss["high"]
              and 0.2 < loss["predicted"] / loss["measured"] < 5, loss)
        points = [(p["bytes"], p["predicted_loss"]) for p in full["frontier"]]
        check("the frontier falls", len(points) > 50 and all(
            a[0] < b[0] and a[1] > b[1] for a, b in zip(points, points[1:])))
        with open(inside("p.csv"), newline="") as file:
            rows = list(csv.DictReader(file))
        chosen = {row["weight"]: row["form"] for row in rows if row["chosen"] == "1"}
        check("the table of candidates", chosen == plan["plan"] and len(rows) > 5 * len(chosen))
        with open(inside("p.html"), encoding="utf-8") as file:
            page = file.read()
        xml.dom.minidom.parseString(page.replace("<!DOCTYPE html>", ""))
        check("the page stands alone", "<svg" in page and "<script" not in page
              and "http" not in page.replace("http://www.w3.org/2000/svg", ""))

    def replays():
        run(target + "a.onnx --target-size 20%")
        r = run(target + "b.onnx --plan p.json --threads 1")
        check("a plan gives the target's bytes again", r.returncode == 0
              and t.read(inside("a.onnx")) == t.read(inside("b.onnx")), r.stderr)
        plan = load("p.json")
        name = next(iter(plan["plan"]))
        plan["plan"] = {"*": "w8", name: "float"}
        with open(inside("edited.json"), "w") as file:
            json.dump(plan, file)
        r = run("compress {net} --data {cal} --plan edited.json -o c.onnx --json -")
        forms = {w["name"]: w["technique"] for w in json.loads(r.stdout)["weights"]}
        check("a plan edited by hand", r.returncode == 0 and forms.pop(name) == "float"
              and set(forms.values()) <= {"w8", "float"}, forms)
        expect_error("a plan for other samples", 8, "E-PLAN-HASH", ["p.json", "data"],
                     "compress {net} --data {test} --plan p.json -o d.onnx")
        expect_error("a plan without its samples", 8, "E-PLAN-HASH", ["p.json", "none"],
                     "compress {net} --plan p.json -o d.onnx")
        expect_error("a plan for another model", 8, "E-PLAN-HASH", ["p.json", "model"],
                     "compress a.onnx --data {cal} --plan p.json -o d.onnx")
        check("nothing is written", not os.path.exists(inside("d.onnx")))

    def targets():
        draw, least = random.Random(1), None
        for _ in range(TARGETS):
            asked = draw.randrange(source // 20, source)
            if os.path.exists(inside("t.onnx")):
                os.remove(inside("t.onnx"))
            r = run(target + "t.onnx --target-size %d --json t.json" % asked)
            report = load("t.json")
            if r.returncode == 0:
                check("%d bytes" % asked, os.path.getsize(inside("t.onnx")) <= asked
                      and report["target"]["reached"] == os.path.getsize(inside("t.onnx")))
            else:
                check("%d bytes cannot be met" % asked, r.returncode == 1 and "E-TARGET" in r.stderr
                      and not os.path.exists(inside("t.onnx")), r.stderr)
                least = report["output"]["bytes"]
                check("the least is said", "%d bytes" % least in r.stderr and least > asked)
        r = run(target + "t.onnx --target-size %d" % least)
        check("the least can be asked for", r.returncode == 0
              and os.path.getsize(inside("t.onnx")) == least, r.stderr)
        r = run(target + "t.onnx --target-ratio 4 --json t.json")
        check("a ratio", r.returncode == 0 and 4 * os.path.getsize(inside("t.onnx")) <= source
              and load("t.json")["target"]["reached"] >= 4, r.stderr)
        parameters = json.loads(run("info {net} --json -").stdout)["totals"]["parameters"]
        r = run(target + "t.onnx --target-bpw 6.5 --json t.json")
        check("bits per weight", r.returncode == 0
              and 8 * os.path.getsize(inside("t.onnx")) <= 6.5 * parameters
              and load("t.json")["target"]["reached"] <= 6.5, r.stderr)

    def refusals():
        expect_error("a plan needs a target", 2, "E-USAGE", ["--target-size"],
                     "plan {net} --data {cal}")
        expect_error("a plan needs samples", 2, "E-USAGE", ["--data"],
                     "plan {net} --target-size 20%")
        for words in ("0%", "101%", "12XB", "x"):
            expect_error("target %s" % words, 2, "E-USAGE", [words],
                         "plan {net} --data {cal} --target-size " + words)
        expect_error("two targets", 2, "E-USAGE", ["exclude"],
                     "plan {net} --data {cal} --target-size 20% --target-ratio 4")
        expect_error("a target and a precision", 2, "E-USAGE", ["exclude"],
                     "compress {net} --data {cal} --target-size 20% --precision w8 -o d.onnx")
        expect_error("a plan that is there", 7, "E-EXISTS", ["p.json"],
                     "plan {net} --data {cal} --target-size 20% -o p.json")

    return [plans, replays, targets, refusals]
