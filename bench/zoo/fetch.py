#!/usr/bin/env python3
"""Brings the model zoo into the cache: models, calibration data, evaluation data. Run it as often
as you like; what is there and matches is left alone.

    bench/zoo/fetch.py [--no-data] [--all] [NAME ...]

Without names: the models that `make zoo-test` judges; --all adds the others of zoo.json. Prints
one line for each model: its name, its path, its two data files. Needs npm, pip, apt-get and
dpkg-deb (for one package of recordings), and nothing that is not in the standard library.
"""
import argparse
import os
import subprocess
import sys

import cache

DEFAULT = ["fashion_mnist", "ppocr_cls", "embedding_model",
           "minilm_l3", "blazeface_back", "silero_vad_legacy"]


def source_digest(name):
    """What the data of a model is made from: its packages and the builders' sources."""
    zoo = cache.zoo()
    model = zoo["models"][name]
    if cache.local(name):
        return cache.sha256(cache.data_path(name, "calibration"))
    packages = [zoo["packages"][key]["sha256"] for key in [model["package"], *model["needs"]]]
    sources = ["common.py", model["data"].split(".")[0] + ".py"]
    return " ".join(packages + [cache.sha256(os.path.join(cache.HERE, s)) for s in sources])


def ensure_data(name):
    """Builds the data of a model in the cache's own Python unless it is there and up to date."""
    if cache.local(name):
        return
    stamp = cache.data_path(name, "made", ".from")
    parts = [cache.data_path(name, "calibration"), cache.data_path(name, "evaluation")]
    digest = source_digest(name)
    if os.path.exists(stamp) and open(stamp).read() == digest and all(map(os.path.exists, parts)):
        return
    for key in cache.zoo()["models"][name]["needs"]:
        cache.package_path(key)
    cache.say(f"building data for {name}")
    subprocess.run([cache.venv_python(), os.path.join(cache.HERE, "build_data.py"), name],
                   check=True, stdout=sys.stderr)
    with open(stamp, "w") as f:
        f.write(digest)


def main():
    known = list(cache.zoo()["models"])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--all", action="store_true", help="every model of zoo.json")
    parser.add_argument("--no-data", action="store_true", help="models only")
    args = parser.parse_args()
    for name in args.names:
        if name not in known:
            parser.error(f"no model {name}; there are {', '.join(known)}")
    for name in args.names or (known if args.all else DEFAULT):
        line = [name, cache.ensure_model(name)]
        if not args.no_data:
            ensure_data(name)
            line += [cache.data_path(name, "calibration"), cache.data_path(name, "evaluation")]
        print(*line, sep="\t", flush=True)


if __name__ == "__main__":
    main()
