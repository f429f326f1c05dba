"""pipeline.py - compress --pipeline as a user meets it: every technique alone, several behind one
another, bounds that hold, zeros that stay, orders that are measured, what is refused.

`stages(t)` gives the stages that tests/cli/run runs; `t` is its names: run, check, expect_error,
inside, net, calibration.
"""
import json

SLACK = 1 + 1e-6
# specification, least SQNR of the output in dB, most bytes as a share of w8's
CHAINS = [
    ("prune:pattern=2:4+w8", 12, 0.85),
    ("prune+w8a8", 12, 1.1),
    ("lowrank:rank=0.5+w4", 15, 0.8),
    ("channels:macs=0.7+w8a8", 15, 0.95),
    ("prune:sparsity=0.3+lowrank:rank=0.6+w8", 8, 1.2),
]


def stages(t):
    run, check, expect_error = t.run, t.check, t.expect_error
    compress = "compress {net} --data {cal} --force -q -o out.onnx --json report.json "

    def report(pipeline, flags=""):
        r = run(compress + "--pipeline " + pipeline + " " + flags)
        if r.returncode:
            return None, r.stderr
        with open(t.inside("report.json")) as file:
            return json.load(file), r.stderr

    def bounds(weights, key):
        """Those whose bound lies below what was measured."""
        return [w["name"] for w in weights if key in w and any(
            w[key]["actual"] > w[key][b] * SLACK + 1e-12
            for b in ("telescoped", "pairwise", "a_priori") if b in w[key])]

    def alone():
        rows = json.loads(run("techniques --json -").stdout)["rows"]
        check("techniques are listed", len(rows) >= 9, rows)
        for row in rows:
            d, error = report(row["name"], "--no-metadata")
            check("%s alone" % row["name"], d and d["composition"]["used"] == [row["name"]], error)
            if not d:
                continue
            given = ",".join("%s=%s" % (p["name"], p["default"]) for p in row["parameters"])
            again, error = report(row["name"] + (":" + given if given else ""), "--no-metadata")
            check("%s with its defaults spelled out" % row["name"],
                  again and again["output"]["xxh3"] == d["output"]["xxh3"], error)

    def chains():
        whole, _ = report("w8")
        for pipeline, least, share in CHAINS:
            d, error = report(pipeline)
            check(pipeline, d, error)
            if not d:
                continue
            sqnr = d["outputs"][0]["sqnr_db"]
            check("%s keeps the answers" % pipeline, sqnr > least, sqnr)
            check("%s is small" % pipeline, d["output"]["bytes"] < share * whole["output"]["bytes"],
                  d["output"]["bytes"])
            for key in ("error", "error_h"):
                measured = [w for w in d["weights"] if key in w]
                check("%s: bounds on %s" % (pipeline, key), len(measured) > 3
                      and not bounds(measured, key), bounds(measured, key))

    def orders():
        spec = "prune:sparsity=0.3+lowrank:rank=0.6+w8"
        found = {o: report(spec, "--order " + o)[0] for o in ("best", "rule", "given")}
        check("all orders run", all(found.values()))
        c = {o: d["composition"] for o, d in found.items()}
        check("the order given is kept", c["given"]["used"] == ["prune", "lowrank", "w8"], c)
        check("the best is used", c["best"]["used"] == c["best"]["best"]
              and c["rule"]["used"] == c["rule"]["rule"], c)
        check("its regret is none", c["best"]["regret"] >= -1e-9
              and c["best"]["best_error"] <= c["best"]["rule_error"] * SLACK, c)
        check("codes stay last", all(x["used"][-1] == "w8" for x in c.values()), c)

    def refused():
        for spec, what in [("w8+prune", "prune cannot follow w8"),
                           ("prune+channels", "channels cannot follow prune"),
                           ("prune+prune", "stands in a pipeline once"),
                           ("prune:sparsity=2+w8", "expected a number"),
                           ("prune:share=2+w8", "has no parameter"),
                           ("sparse+w8", "no technique is called")]:
            expect_error(spec, 2, "E-PARAM" if ":" in spec else "E-PIPELINE", [what],
                         compress + "--pipeline " + spec)
        expect_error("one or the other", 2, "E-USAGE", ["--precision", "--pipeline"],
                     compress + "--pipeline w8 --precision w8")
        expect_error("bits beside a pipeline", 2, "E-USAGE", ["--bits"],
                     compress + "--pipeline w4 --bits 3")
        expect_error("an order of nothing", 2, "E-USAGE", ["--order"],
                     compress + "--precision w8 --order best")
        expect_error("a stage without samples", 2, "E-USAGE", ["w8a8"],
                     "compress {net} -o out2.onnx --pipeline w8a8")

    def layers():
        r = run(compress + "--precision w8 --layer *features.3*=w4:bits=3,block=64")
        with open(t.inside("report.json")) as file:
            d, error = json.load(file), r.stderr
        chosen = [w for w in d["weights"] if w["technique"] == "w4"]
        check("a layer takes parameters", chosen and all(
            w["parameters"]["bits"] == 3 for w in chosen), error or chosen)
        expect_error("a layer's parameter out of range", 2, "E-PARAM", ["bits"],
                     compress + "--precision w8 --layer *=w4:bits=9")

    return [alone, chains, orders, refused, layers]
