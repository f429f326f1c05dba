"""Builds the data files of models of zoo.json in the cache; run by fetch.py in the cache's Python.

A builder is `module.function` of zoo.json's "data". It writes NAME_calibration.npz and
NAME_evaluation.npz, made from different items or different random draws, and prints what the float
model scores on the second.
"""
import importlib
import sys

import cache


def main():
    for name in sys.argv[1:]:
        module, function = cache.zoo()["models"][name]["data"].split(".")
        getattr(importlib.import_module(module), function)(name)


if __name__ == "__main__":
    main()
