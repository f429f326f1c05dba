"""Models that no file can hold whole, and files that change under the reader; tests/hostile/run
calls checks().

The large model is a chain of matrix products over a sparse file, so that it costs the disk nothing
until it is written out again.
"""
import io
import os
import shutil
import struct
import subprocess
import tempfile
import time
import zipfile

import make_models as m

SIDE, PRODUCTS = 4096, 33
TENSOR_BYTES = 4 * SIDE * SIDE
MODEL_BYTES = TENSOR_BYTES * PRODUCTS  # 2.06 GiB
CARRIED = 64  # inputs that the diagonals carry through
MOST_RESIDENT = MODEL_BYTES // 4


# ---- making ----------------------------------------------------------------------------------


def chain_model(side, products, location):
    weights = [m.tensor(f"w{i}", m.FLOAT, [side, side], m.external(
        ("location", location), ("offset", str(i * 4 * side * side)),
        ("length", str(4 * side * side)))) for i in range(products)]
    nodes = [m.node("MatMul", ["x" if i == 0 else f"v{i}", f"w{i}"],
                    ["y" if i == products - 1 else f"v{i + 1}"]) for i in range(products)]
    return m.integer(1, 8) + m.opset("", 17) + m.blob(m.GRAPH, b"".join(
        m.blob(1, n) for n in nodes) + m.blob(2, "g") + m.blob(
            m.INPUT, m.value_info("x", [1, side])) + m.blob(
                m.OUTPUT, m.value_info("y", [1, side])) + b"".join(
                    m.blob(m.INITIALIZER, w) for w in weights))


def write_chain(folder, side, products, location="weights.bin"):
    """model.onnx, its data, and data.npz with the outputs that it must give."""
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(chain_model(side, products, location))
    with open(os.path.join(folder, location), "wb") as file:
        file.truncate(4 * side * side * products)
        for product in range(products):
            for i in range(CARRIED):
                file.seek(4 * (product * side * side + i * side + i))
                file.write(struct.pack("<f", 1))
    row = npy((1, side), [float(i % 7 - 3) if i < CARRIED else 0.0 for i in range(side)])
    with zipfile.ZipFile(os.path.join(folder, "data.npz"), "w") as archive:
        archive.writestr("x.npy", row)
        archive.writestr("y.npy", row)
    return os.path.join(folder, "model.onnx")


def npy(shape, numbers):
    header = str({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    out = io.BytesIO()
    out.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    out.write(struct.pack(f"<{len(numbers)}f", *numbers))
    return out.getvalue()


# ---- running ---------------------------------------------------------------------------------


def run(binary, *arguments):
    """Exit status, stderr, most bytes resident."""
    with tempfile.TemporaryFile() as err:
        child = subprocess.Popen([binary, *arguments], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        return child.returncode, err.read().decode(errors="replace"), usage.ru_maxrss * 1024


def expect(faults, what, result, exit_code, text="", resident=None):
    found, err, peak = result
    if found != exit_code:
        faults.append(f"{what}: exit {found}, expected {exit_code}: {err[-300:]}")
    elif text not in err:
        faults.append(f"{what}: {text} is not in {err[-300:]}")
    if resident is not None and peak > resident:
        faults.append(f"{what}: {peak >> 20} MiB resident, at most {resident >> 20} are allowed")


def names(folder, before):
    return sorted(set(os.listdir(folder)) - before)


# ---- the large model -------------------------------------------------------------------------


def read_and_run(binary, folder, model, limit):
    faults = []
    expect(faults, "info", run(binary, "info", model), 0, resident=limit)
    expect(faults, "run", run(binary, "run", model, "--data", os.path.join(folder, "data.npz")), 0,
           resident=limit)
    return faults


def goes_into_two_files(binary, folder, model, limit):
    faults = []
    out, data = os.path.join(folder, "out.onnx"), os.path.join(folder, "data.npz")
    job = ("compress", model, "--precision", "none", "-o", out)
    expect(faults, "none", run(binary, *job), 0, resident=limit)
    if not os.path.exists(out + ".data"):
        return faults + ["no out.onnx.data beside out.onnx"]
    if os.path.getsize(out + ".data") != MODEL_BYTES or os.path.getsize(out) > 10000:
        faults.append(f"{os.path.getsize(out)} and {os.path.getsize(out + '.data')} bytes")
    expect(faults, "what was written", run(binary, "run", out, "--data", data), 0)
    before = [os.stat(path).st_ino for path in (out, out + ".data")]
    expect(faults, "a second time", run(binary, *job), 7, "E-EXISTS")
    os.unlink(out)
    expect(faults, "beside the old data", run(binary, *job), 7, "out.onnx.data")
    if os.path.exists(out) or os.stat(out + ".data").st_ino != before[1]:
        faults.append("a refused run changed something")
    os.unlink(out + ".data")
    return faults


def becomes_one_file(binary, folder, model, limit):
    faults = []
    out, data = os.path.join(folder, "out.onnx"), os.path.join(folder, "data.npz")
    expect(faults, "w8", run(binary, "compress", model, "--precision", "w8", "-o", out), 0,
           resident=limit)
    if os.path.exists(out + ".data"):
        faults.append("a data file for what fits into one")
    expect(faults, "what was written", run(binary, "run", out, "--data", data), 0)
    if os.path.exists(out):
        os.unlink(out)
    return faults


def killed(binary, folder, model, _):
    """At any instant: no name, or both and whole."""
    faults = []
    out, before = os.path.join(folder, "out.onnx"), set(os.listdir(folder))
    for wait in (0.3, 1, 2):
        child = subprocess.Popen([binary, "compress", model, "--precision", "none", "-o", out],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(wait)
        child.kill()
        child.wait()
        left = names(folder, before)
        if left and left != ["out.onnx", "out.onnx.data"]:
            faults.append(f"killed after {wait} s it left {left}")
        for name in left:
            os.unlink(os.path.join(folder, name))
    return faults


# ---- files that change, names that are taken ---------------------------------------------------


def smaller(folder, location="weights.bin"):
    """Of 36 MiB: mapped, but quick."""
    return write_chain(folder, 1024, 9, location)


def wait_until_mapped(child, name):
    """The file is loaded, and the work on it has begun."""
    for _ in range(6000):
        with open("/proc/%d/maps" % child.pid) as maps:
            if name in maps.read():
                return
        time.sleep(0.01)


def cut_short(binary, folder, _):
    model = smaller(folder)
    child = subprocess.Popen([binary, "run", model, "--random", "100000"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until_mapped(child, "weights.bin")
    time.sleep(0.1)
    os.truncate(os.path.join(folder, "weights.bin"), 4096)
    err = child.communicate(timeout=100)[1].decode(errors="replace")
    faults = []
    expect(faults, "a file cut short", (child.returncode, err, 0), 6, "E-READ")
    return faults


def changed(binary, folder, _):
    model, out = smaller(folder), os.path.join(folder, "out.onnx")
    child = subprocess.Popen([binary, "compress", model, "--precision", "w8", "--random", "2000",
                              "-o", out], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until_mapped(child, "weights.bin")
    time.sleep(0.1)
    os.utime(os.path.join(folder, "weights.bin"))
    err = child.communicate(timeout=300)[1].decode(errors="replace")
    faults = []
    expect(faults, "a file that changed", (child.returncode, err, 0), 3, "E-CHANGED")
    if os.path.exists(out):
        faults.append("something was written")
    return faults


def inputs_stay(binary, folder, _):
    model = smaller(folder, "o.onnx.data")
    data = os.path.join(folder, "o.onnx.data")
    before = os.stat(data)
    faults = []
    job = ("compress", model, "--precision", "w8", "--external-data", "--force", "-o")
    expect(faults, "the data file is an input", run(binary, *job, os.path.join(folder, "o.onnx")),
           7, "o.onnx.data")
    expect(faults, "a name that no model can refer to",
           run(binary, *job, os.path.join(folder, "a\\b.onnx")), 2, "E-USAGE")
    after = os.stat(data)
    if (before.st_ino, before.st_mtime_ns, before.st_size) != (
            after.st_ino, after.st_mtime_ns, after.st_size) or len(os.listdir(folder)) != 3:
        faults.append("files changed")
    return faults


def asked_for(binary, folder, _):
    """--external-data on what would fit into one file; then both are replaced together."""
    model, out = smaller(folder), os.path.join(folder, "out.onnx")
    data, before = os.path.join(folder, "data.npz"), set(os.listdir(folder))
    job = ("compress", model, "--precision", "w8", "--external-data", "-o", out)
    faults = []
    expect(faults, "--external-data", run(binary, *job), 0)
    expect(faults, "what was written", run(binary, "run", out, "--data", data), 0)
    expect(faults, "without --force", run(binary, *job), 7, "E-EXISTS")
    expect(faults, "with --force", run(binary, *job, "--force"), 0)
    expect(faults, "dry", run(binary, *job, "--dry-run"), 0)
    expect(faults, "what was replaced", run(binary, "run", out, "--data", data), 0)
    left = names(folder, before)
    if left != ["out.onnx", "out.onnx.data"]:
        faults.append(f"files left: {left}")
    return faults


LARGE = (read_and_run, goes_into_two_files, becomes_one_file, killed)
SMALL = (cut_short, changed, inputs_stay, asked_for)


def checks(binary, sanitised):
    """A list of faults for each check; the large model is left to the plain build."""
    name = os.path.basename(os.path.dirname(os.path.abspath(binary)))
    for function in SMALL:
        with tempfile.TemporaryDirectory(prefix="onnxpress-large-") as folder:
            found = function(binary, folder, None)
            yield [f"FAIL {function.__name__} ({name}): {fault}" for fault in found]
    if sanitised:
        return
    with tempfile.TemporaryDirectory(prefix="onnxpress-large-") as folder:
        model = write_chain(folder, SIDE, PRODUCTS)
        free = shutil.disk_usage(folder).free
        if free < 2 * MODEL_BYTES:
            yield [f"FAIL the large model needs {2 * MODEL_BYTES} free bytes, there are {free}"]
            return
        for function in LARGE:
            found = function(binary, folder, model, MOST_RESIDENT)
            yield [f"FAIL {function.__name__}: {fault}" for fault in found]
