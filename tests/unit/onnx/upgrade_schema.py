#!/usr/bin/env python3
"""Holds src/onnx/upgrade.def against the operator schemas of the onnx package.

Prints every ai.onnx operator whose version changes between opset 7 and the last one of the table
and that has no row, every row without such a change, every row out of order, and every row SAME
whose schemas differ by more than additions: an attribute, input, output or type that a node may
use before and not after, or another default. Exit 1 when there is any. With --list it prints the
changes and their fate.

    upgrade_schema.py [--list] [path of upgrade.def]
"""
import collections
import pathlib
import re
import sys

import onnx.defs

OLDEST, NEWEST = 7, 21
ROOT = pathlib.Path(__file__).resolve().parents[3]
ROW = re.compile(r"(SAME|CONVERT|REFUSE)\((\w+), (\d+)(?:, (.*))?\)$")

# Rows that no schema has: deprecated operators that are converted one version late, because what
# they meant can only be said in the form of the later version.
EXTRA = {("Upsample", 11)}

# SAME rows whose difference was looked at: the error function of an integer was let in by mistake.
KNOWN = {("Erf", 13)}


def schemas():
    history = collections.defaultdict(dict)
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            history[schema.name][schema.since_version] = schema
    return history


def changes(history):
    """(type, version) -> (schema before, schema after)"""
    found = {}
    for name, versions in history.items():
        ordered = sorted(versions)
        for before, after in zip(ordered, ordered[1:]):
            if OLDEST < after <= NEWEST:
                found[name, after] = versions[before], versions[after]
    return found


def rows(path):
    found = []
    for line in path.read_text().splitlines():
        match = ROW.match(line)
        if match:
            found.append((match[2], int(match[3]), match[1], match[4]))
        elif line and not line.startswith(("/*", " *", "#")):
            sys.exit(f"{path}: not understood: {line}")
    return found


def default_of(attribute):
    value = attribute.default_value
    return value.SerializeToString() if value.name else None


def attribute_differences(before, after):
    for name, old in before.attributes.items():
        new = after.attributes.get(name)
        if new is None:
            yield f"attribute {name} is gone"
        elif new.type != old.type:
            yield f"attribute {name}: another type"
        elif default_of(new) != default_of(old):
            yield f"attribute {name}: another default"
        elif new.required and not old.required:
            yield f"attribute {name} became required"
    for name, new in after.attributes.items():
        if name not in before.attributes and new.required:
            yield f"attribute {name} is new and required"


def argument_differences(what, old, new):
    option = onnx.defs.OpSchema.FormalParameterOption
    if len(new) < len(old):
        yield f"fewer {what}s"
    for i, argument in enumerate(new):
        if i >= len(old):
            if argument.option == option.Single:
                yield f"{what} {argument.name} is new and required"
            continue
        if argument.name.lower() != old[i].name.lower():
            yield f"{what} {i} is {argument.name}, was {old[i].name}"
        if argument.option != old[i].option and argument.option == option.Single:
            yield f"{what} {argument.name} became required"
        lost = set(old[i].types) - set(argument.types)
        if lost:
            yield f"{what} {argument.name} lost {' '.join(sorted(lost))}"


def differences(before, after):
    yield from attribute_differences(before, after)
    yield from argument_differences("input", before.inputs, after.inputs)
    yield from argument_differences("output", before.outputs, after.outputs)
    if after.deprecated:
        yield "it is deprecated"


def check(table, changed):
    listed = {(name, version) for name, version, _, _ in table}
    for name, version in sorted(set(changed) - listed):
        yield f"{name} {version}: no row"
    for name, version in sorted(listed - set(changed) - EXTRA):
        yield f"{name} {version}: a row without a new version"
    for first, second in zip(table, table[1:]):
        if first[:2] >= second[:2]:
            yield f"{second[0]} {second[1]}: out of order"
    for name, version, fate, _ in table:
        if fate == "SAME" and (name, version) in changed and (name, version) not in KNOWN:
            for difference in differences(*changed[name, version]):
                yield f"{name} {version}: SAME, but {difference}"


def main():
    arguments = [a for a in sys.argv[1:] if a != "--list"]
    path = pathlib.Path(arguments[0]) if arguments else ROOT / "src/onnx/upgrade.def"
    table = rows(path)
    changed = changes(schemas())
    if "--list" in sys.argv:
        for name, version, fate, detail in sorted(table, key=lambda row: (row[1], row[0])):
            print(f"{version:3} {name:28} {fate:8} {detail or ''}".rstrip())
    objections = list(check(table, changed))
    print("\n".join(objections) if objections else f"{len(table)} rows, {len(changed)} changes")
    return bool(objections)


if __name__ == "__main__":
    sys.exit(main())
