#!/usr/bin/env python3
"""Makes the hostile calibration data: make_npy.py DIRECTORY, or make_npy.py --manifest.

For a model with the input "input" FLOAT [N,1,28,28] and the output "logits" FLOAT [N,10]. Each row
of the catalogue is a function that returns the bytes of a file, or a dictionary of files with the
one that --data is given first. DIRECTORY/ROW/ gets the files; what must come of each is in the row
and, for readers and for tests/hostile/run, in npy_manifest.tsv (--manifest prints it).

Archives are written byte by byte, because most of these no library would write.
"""
import os
import struct
import sys
import zlib

ROWS = []  # identity, build, file, arguments, exit, pattern


def row(identity, exit_code, pattern, build, file="data.npy", arguments="-"):
    assert identity not in [r[0] for r in ROWS], identity
    ROWS.append((identity, build, file, arguments, exit_code, pattern or "-"))


def rows(prefix, cases, build, file="data.npy"):
    """One row per case (suffix, exit code, pattern, arguments of `build`...)."""
    for suffix, exit_code, pattern, *arguments in cases:
        row(prefix + suffix, exit_code, pattern, lambda a=arguments: build(*a), file)


# ---- .npy ------------------------------------------------------------------------------------

SAMPLES = 2
COUNT = SAMPLES * 28 * 28
VALUES = [((i * 37) % 256) / 256 for i in range(COUNT)]
DATA = struct.pack(f"<{COUNT}f", *VALUES)
SHAPE = f"({SAMPLES}, 1, 28, 28)"


def header(descr="'<f4'", fortran="False", shape=SHAPE):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def npy(text=None, data=DATA, version=(1, 0), length=None, magic=b"\x93NUMPY", **keys):
    """A .npy around a header text; `length` is what it says of itself."""
    text = header(**keys) if text is None else text
    text = text.encode("latin-1") if isinstance(text, str) else text
    width = "<H" if version[0] == 1 else "<I"
    says = struct.pack(width, len(text) if length is None else length)
    return magic + bytes(version) + says + text + data


def floats(values, shape=SHAPE):
    return npy(data=struct.pack(f"<{len(values)}f", *values), shape=shape)


def with_value(value, at=1000):
    return floats(VALUES[:at] + [value] + VALUES[at + 1:])


BIG_ENDIAN = struct.pack(f">{COUNT}f", *VALUES)
TRANSPOSED = struct.pack(f"<{COUNT}f", *(VALUES[(n * 28 + h) * 28 + w] for w in range(28)
                                         for h in range(28) for n in range(SAMPLES)))

rows("N01-", [
    ("magic", 8, "E-NPY-MAGIC", dict(magic=b"\x93NUMPX")),
    ("0.0", 8, "E-NPY-MAGIC", dict(version=(0, 0))),
    ("4.0", 8, "E-NPY-MAGIC", dict(version=(4, 0))),
    ("1.7", 8, "E-NPY-MAGIC", dict(version=(1, 7))),
], lambda keys: npy(**keys))
row("N01-short", 8, "E-NPY-MAGIC", lambda: b"\x93NUM")
row("N01-empty", 8, "E-EMPTY", lambda: b"")
row("N02-past-end", 8, "E-NPY-HEADER", lambda: npy(data=b"", length=60000))
row("N02-huge", 8, "E-NPY-HEADER", lambda: npy(version=(2, 0), length=0xFFFFFFF0))
row("N02-cut", 8, "E-NPY-HEADER", lambda: npy()[:9])
row("N03-limit", 0, "", lambda: npy(header().ljust(10000), version=(2, 0)))
row("N03-beyond", 8, "E-NPY-HEADER", lambda: npy(header().ljust(10001), version=(2, 0)))
rows("N04-", [
    ("list", 8, "E-NPY-HEADER", "[]"),
    ("text", 8, "E-NPY-HEADER", "hello"),
    ("no-shape", 8, "E-NPY-HEADER.*shape", "{'descr': '<f4', 'fortran_order': False}"),
    ("no-descr", 8, "E-NPY-HEADER.*descr", "{'fortran_order': False, 'shape': (2, 1, 28, 28)}"),
    ("extra", 8, "E-NPY-HEADER", header()[:-1] + "'x': 1}"),
    ("twice", 8, "E-NPY-HEADER", header()[:-1] + "'descr': '<f4'}"),
    ("open", 8, "E-NPY-HEADER", header()[:-1]),
    ("nested", 8, "E-NPY-HEADER", "{'shape': " + "(" * 9000),
    ("behind", 8, "E-NPY-HEADER", header() + "{}"),
], npy)
row("N04-ten-thousand", 8, "E-NPY-HEADER",
    lambda: npy("{'shape': " + "(" * 10000, version=(2, 0)))
rows("N05-", [("bar", 8, "E-NPY-PICKLE.*never loaded", "'|O'"),
              ("plain", 8, "E-NPY-PICKLE", "'O'"),
              ("sized", 8, "E-NPY-PICKLE", "'<O8'")],
     lambda descr: npy(descr=descr, data=b"\x80\x04cos\nsystem\n(S'true'\ntR."))
rows("N06-", [(name, 8, "E-NPY-DTYPE", descr) for name, descr in (
    ("structured", "[('a', '<f4')]"), ("unicode", "'<U8'"), ("bytes", "'S8'"),
    ("date", "'<M8[ns]'"), ("complex", "'<c8'"), ("long-double", "'<f16'"), ("void", "'|V2'"))],
     lambda descr: npy(descr=descr))
rows("N07-", [(f"{i}", 8, "E-NPY-DTYPE", descr) for i, descr in enumerate(
    ("''", "'<'", "'<f'", "'<f99999999999'", "'<i3'", "'f4f4'", "'|f4'"))],
     lambda descr: npy(descr=descr))
row("N08", 0, "", lambda: npy(descr="'>f4'", data=BIG_ENDIAN))
row("N09-native", 0, "", lambda: npy(descr="'=f4'"))
row("N09-bytes", 8, "E-CALIB-DTYPE.*UINT8", lambda: npy(descr="'|u1'", data=bytes(COUNT)))
row("N10", 0, "", lambda: npy(fortran="True", data=TRANSPOSED))
row("N10-scalar", 8, "E-CALIB-SHAPE", lambda: npy(fortran="True", shape="()", data=bytes(4)))
rows("N11-", [("quoted", 8, "E-NPY-HEADER", "'True'"), ("one", 8, "E-NPY-HEADER", "1"),
              ("none", 8, "E-NPY-HEADER", "None")],
     lambda fortran: npy(fortran=fortran))
row("N11-missing", 8, "E-NPY-HEADER.*fortran_order",
    lambda: npy("{'descr': '<f4', 'shape': (2, 1, 28, 28)}"))
rows("N12-", [(name, 8, "E-NPY-HEADER", shape) for name, shape in (
    ("negative", "(-2, 1, 28, 28)"), ("float", "(2.0, 1, 28, 28)"), ("list", "[2, 1, 28, 28]"),
    ("number", "1568"), ("no-comma", "(1568)"), ("exponent", "(2e0, 1, 28, 28)"),
    ("hexadecimal", "(0x2, 1, 28, 28)"), ("underscore", "(1_568,)"), ("octal", "(02, 1, 28, 28)"),
    ("two-commas", "(2,, 1, 28, 28)"))],
     lambda shape: npy(shape=shape))
row("N12-python2", 0, "", lambda: npy(shape="(2L, 1L, 28L, 28L)"))
rows("N13-", [(name, 8, "E-SHAPE-OVERFLOW", shape) for name, shape in (
    ("product", "(4294967296, 4294967296)"), ("signed", "(3037000499, 3037000501)"),
    ("bytes", "(4611686018427387904,)"), ("digits", "(" + "9" * 40 + ",)"),
    ("int64", "(9223372036854775808,)"))],
     lambda shape: npy(shape=shape))
row("N13-claim", 8, "E-NPY-LEN", lambda: npy(shape="(1152921504606846976,)"))
row("N13-rank", 5, "E-LIMIT-RANK", lambda: npy(shape="(" + "1, " * 70 + ")"))
row("N14-scalar", 8, "E-CALIB-SHAPE", lambda: npy(shape="()", data=bytes(4)))
row("N14-empty", 8, "E-CALIB-EMPTY", lambda: npy(shape="(0, 1, 28, 28)", data=b""))
rows("N15-", [("short", 8, "E-NPY-LEN", DATA[:-1]), ("long", 8, "E-NPY-LEN", DATA + b"\0"),
              ("none", 8, "E-NPY-LEN", b""), ("twice", 8, "E-NPY-LEN", DATA * 2)],
     lambda data: npy(data=data))
row("N16-latin", 8, "E-NPY-HEADER", lambda: npy(header() + "\xe9"))
row("N16-utf8", 8, "E-NPY-HEADER", lambda: npy(header().encode() + b"\xc3\x28", version=(3, 0)))
row("N16-nul", 8, "E-NPY-HEADER", lambda: npy(header() + "\0"))
rows("N17-", [(name, 8, "E-NPY-HEADER", shape) for name, shape in (
    ("import", "__import__('os').system('true')"), ("power", "(2**11,)"), ("times", "(1,)*9"),
    ("call", "tuple([2, 1, 28, 28])"))],
     lambda shape: npy(shape=shape))

# ---- .npz ------------------------------------------------------------------------------------


class Entry:
    """One entry of an archive. What is given by name is written as it is, not as it would be."""

    def __init__(self, name="input.npy", data=None, deflate=True, local=None, **wrong):
        self.data = npy() if data is None else data
        self.packed = self.data
        if deflate:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            self.packed = packer.compress(self.data) + packer.flush()
        self.fields = dict(name=name.encode() if isinstance(name, str) else name,
                           flags=0, method=8 if deflate else 0, crc=zlib.crc32(self.data),
                           packed=len(self.packed), bytes=len(self.data), disk=0, offset=None,
                           extra=b"", local_extra=b"")
        self.packed = wrong.pop("payload", self.packed)
        self.fields.update(wrong)
        self.local = {**self.fields, **(local or {})}

    def local_record(self):
        f = self.local
        return struct.pack("<IHHHIIIIHH", 0x04034B50, 20, f["flags"], f["method"], 0, f["crc"],
                           f["packed"], f["bytes"], len(f["name"]), len(f["local_extra"])) \
            + f["name"] + f["local_extra"] + self.packed

    def central_record(self, offset):
        f = self.fields
        offset = offset if f["offset"] is None else f["offset"]
        return struct.pack("<IHHHHIIIIHHHHHII", 0x02014B50, 20, 20, f["flags"], f["method"], 0,
                           f["crc"], f["packed"], f["bytes"], len(f["name"]), len(f["extra"]), 0,
                           f["disk"], 0, 0, offset) + f["name"] + f["extra"]


def end_record(count, size, offset, disk=0, here=None, comment=b""):
    return struct.pack("<IHHHHIIH", 0x06054B50, disk, disk, count if here is None else here, count,
                       size, offset, len(comment)) + comment


def end64_records(count, size, offset, at, disks=1):
    return struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, offset) \
        + struct.pack("<IIQI", 0x07064B50, 0, at, disks)


def archive(*entries, end=end_record, **keys):
    body, central = b"", b""
    for entry in entries:
        central += entry.central_record(len(body))
        body += entry.local_record()
    return body + central + end(len(entries), len(central), len(body), **keys)


def shifted_end(count_off=0, size_off=0, offset_off=0):
    return lambda count, size, offset: end_record(count + count_off, size + size_off,
                                                  offset + offset_off)


def npz(identity, exit_code, pattern, build, arguments="-"):
    row(identity, exit_code, pattern, build, "data.npz", arguments)


def streamed():
    """Sizes in a descriptor behind the data, as writers to a pipe do."""
    entry = Entry(flags=8, local=dict(crc=0, packed=0, bytes=0))
    entry.packed += struct.pack("<IIII", 0x08074B50, zlib.crc32(entry.data), len(entry.packed),
                                len(entry.data))
    return archive(entry)


def zip64():
    """ZIP64 sizes in the local header, as NumPy writes them, and a ZIP64 end record."""
    entry = Entry(local=dict(packed=0xFFFFFFFF, bytes=0xFFFFFFFF))
    entry.local["local_extra"] = struct.pack("<HHQQ", 1, 16, len(entry.data), len(entry.packed))
    return archive(entry, end=lambda count, size, offset: end64_records(
        count, size, offset, offset + size) + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF))


npz("N18-sound", 0, "", lambda: archive(Entry()))
npz("N18-stored", 0, "", lambda: archive(Entry(deflate=False)))
npz("N18-streamed", 0, "", streamed)
npz("N18-zip64", 0, "", zip64)
npz("N18-comment", 0, "", lambda: archive(Entry(), comment=b"made by hand"))
npz("N18-no-end", 8, "E-ZIP:", lambda: archive(Entry())[:-22])
npz("N18-cut", 8, "E-ZIP:", lambda: archive(Entry())[:-1])
npz("N18-half", 8, "E-ZIP:", lambda: archive(Entry())[:300])
npz("N18-fewer", 8, "E-ZIP:", lambda: archive(Entry(), Entry("labels"), end=shifted_end(-1)))
npz("N18-more", 8, "E-ZIP:", lambda: archive(Entry(), end=shifted_end(1)))
npz("N18-counts", 8, "E-ZIP:", lambda: archive(Entry(), here=0))
npz("N18-size", 8, "E-ZIP:", lambda: archive(Entry(), end=shifted_end(0, -1)))
npz("N18-offset", 8, "E-ZIP:", lambda: archive(Entry(), end=shifted_end(0, 0, 1)))
npz("N18-out-of-file", 8, "E-ZIP:", lambda: archive(Entry(), end=shifted_end(0, 0, 1 << 30)))
npz("N18-prefix", 8, "E-ZIP:", lambda: b"#!/bin/sh\n" + archive(Entry()))
npz("N18-two-ends", 8, "E-ZIP:", lambda: archive(Entry(), comment=end_record(0, 0, 0)))
npz("N18-text", 8, "E-ZIP:", lambda: b"this is a text, not an archive\n" * 3)
for what, wrong in (("name", dict(name=b"other.npy")), ("bytes", dict(bytes=5)),
                    ("packed", dict(packed=5)), ("method", dict(method=0)), ("crc", dict(crc=1)),
                    ("flags", dict(flags=8))):
    npz(f"N19-{what}", 8, "E-ZIP:", lambda w=wrong: archive(Entry(local=w)))
npz("N19-offset", 8, "E-ZIP:", lambda: archive(Entry(offset=7)))
npz("N19-offset-out-of-file", 8, "E-ZIP:", lambda: archive(Entry(offset=0xFFFFFFF0)))


def overlapping():
    """The second entry lies, header and all, in the data of the first."""
    inner = Entry("labels")
    outer = Entry("input", inner.local_record(), deflate=False)
    inner.fields["offset"] = 30 + len("input")
    central = outer.central_record(0) + inner.central_record(0)
    body = outer.local_record()
    return body + central + end_record(2, len(central), len(body))


def fifield(count=40):
    """One deflated kernel that many entries share: each quotes the local header of the next."""
    names = [f"{i:04d}" for i in range(count)]
    kernel = Entry(names[-1], bytes(1 << 20))
    blocks = [kernel.local_record()]
    entries = [kernel]
    for name in reversed(names[:-1]):
        entry = Entry(name)
        quoted = blocks[0][:30 + 4]
        following = entries[0]
        entry.packed = b"\0" + struct.pack("<HH", len(quoted), 0xFFFF ^ len(quoted))
        entry.data = quoted + following.data
        for fields in (entry.fields, entry.local):
            fields.update(crc=zlib.crc32(entry.data), bytes=len(entry.data),
                          packed=len(entry.packed) + len(quoted) + following.fields["packed"])
        blocks.insert(0, entry.local_record())
        entries.insert(0, entry)
    body, central = b"", b""
    for entry, block in zip(entries, blocks):
        central += entry.central_record(len(body))
        body += block
    return body + central + end_record(count, len(central), len(body))


npz("N20-inside", 8, "E-ZIP-OVERLAP", overlapping)
npz("N20-fifield", 8, "E-ZIP-OVERLAP", fifield)
npz("N20-same", 8, "E-ZIP", lambda: archive(Entry("input"), Entry("labels", offset=0)))


def claims(size):
    extra = struct.pack("<HHQ", 1, 8, size)
    entry = Entry(bytes=0xFFFFFFFF, extra=extra)
    entry.local["local_extra"] = struct.pack("<HHQQ", 1, 16, size, len(entry.packed))
    entry.local.update(bytes=0xFFFFFFFF, packed=0xFFFFFFFF)
    return archive(entry)


npz("N21-terabyte", 8, "E-ZIP-BOMB", lambda: claims(1 << 40))
npz("N21-exabytes", 8, "E-ZIP-BOMB", lambda: claims((1 << 64) - 1))
npz("N21-ratio", 8, "E-ZIP-BOMB", lambda: claims(1033 * len(Entry().packed)))
npz("N21-beyond", 8, "E-ZIP-BOMB",
    lambda: archive(Entry(data=npy() + bytes(1 << 20), bytes=len(npy()))))
npz("N21-fewer", 8, "E-(ZIP-CRC|NPY-LEN)", lambda: archive(Entry(bytes=len(npy()) + 4)))
npz("N21-real", 5, "E-LIMIT-MEM", lambda: archive(
    Entry(data=npy(shape="(16384, 1, 28, 28)", data=bytes(16384 * 3136)))), "--max-memory 16MiB")
npz("N21-stored", 8, "E-ZIP:", lambda: archive(Entry(deflate=False, bytes=len(npy()) - 4)))
npz("N22-crc", 8, "E-ZIP-CRC", lambda: archive(Entry(crc=1)))


def flipped():
    data = bytearray(npy())
    data[-5] ^= 0x10
    return archive(Entry(deflate=False, payload=bytes(data)))


npz("N22-flip", 8, "E-ZIP-CRC", flipped)
npz("N22-cut", 8, "E-ZIP-CRC", lambda: archive(Entry(payload=Entry().packed[:-9],
                                                     packed=len(Entry().packed) - 9)))
npz("N22-trailing", 8, "E-ZIP-CRC", lambda: archive(Entry(payload=Entry().packed + bytes(9),
                                                          packed=len(Entry().packed) + 9)))
npz("N22-garbage", 8, "E-ZIP-CRC", lambda: archive(Entry(payload=b"\xff" * 500, packed=500)))
npz("N23-encrypted", 8, "E-ZIP-METHOD", lambda: archive(Entry(flags=1)))
npz("N23-strong", 8, "E-ZIP-METHOD", lambda: archive(Entry(flags=0x41)))
for method in (1, 9, 12, 14, 93, 99):
    npz(f"N23-method-{method}", 8, "E-ZIP-METHOD", lambda m=method: archive(Entry(method=m)))
npz("N23-disk", 8, "E-ZIP-METHOD", lambda: archive(Entry(disk=1)))
npz("N23-disks", 8, "E-ZIP-METHOD", lambda: archive(Entry(), disk=1))
npz("N23-zip64-missing", 8, "E-ZIP-METHOD", lambda: archive(Entry(bytes=0xFFFFFFFF)))
npz("N23-zip64-short", 8, "E-ZIP-METHOD",
    lambda: archive(Entry(bytes=0xFFFFFFFF, extra=struct.pack("<HHI", 1, 4, 7))))
npz("N23-zip64-long", 8, "E-ZIP-METHOD",
    lambda: archive(Entry(bytes=0xFFFFFFFF, extra=struct.pack("<HHQ", 1, 800, 7))))
npz("N24-twice", 8, "E-ZIP-DUP", lambda: archive(Entry(), Entry()))
npz("N24-ending", 8, "E-ZIP-DUP", lambda: archive(Entry("input"), Entry("input.npy")))
for what, name in (("parent", "../input.npy"), ("root", "/input.npy"), ("nul", "input\0.npy"),
                   ("empty", ""), ("folder", "input/"), ("escape", "\x1b[2Jinput.npy"),
                   ("override", "\u202einput.npy"), ("long", "x" * 60000)):
    npz(f"N25-{what}", 8, "E-CALIB-NAME", lambda n=name: archive(Entry(n)))


def many(count):
    """Entries without data, all alike: only their number matters."""
    entry = Entry("a", b"", deflate=False)
    central = entry.central_record(0) * count
    body = entry.local_record() * count
    return body + central + end64_records(count, len(central), len(body),
                                          len(body) + len(central)) \
        + end_record(0xFFFF, min(len(central), 0xFFFFFFFF), 0xFFFFFFFF)


npz("N26-65536", 5, "E-LIMIT-ENTRIES", lambda: many(65536))
npz("N26-million", 5, "E-LIMIT-ENTRIES", lambda: many(1000000))
npz("N26-claim", 5, "E-LIMIT-ENTRIES", lambda: archive(
    Entry(), end=lambda count, size, offset: end64_records(1 << 40, size, offset, offset + size)
    + end_record(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)))
npz("N27-archive", 8, "E-NPY-MAGIC", lambda: archive(Entry(data=archive(Entry()))))
npz("N27-text", 8, "E-NPY-MAGIC", lambda: archive(Entry(data=b"one, two, three\n")))
npz("N27-empty", 8, "E-NPY-MAGIC", lambda: archive(Entry(data=b"", deflate=False)))
row("N27-zip-as-npy", 8, "E-NPY-MAGIC", lambda: archive(Entry()))
row("N28-loop", 6, "E-OPEN", lambda: {"data.npy": ("link", "data.npy")})
row("N28-vanished", 6, "E-OPEN", lambda: {"set/a.npy": npy(), "set/b.npy": ("link", "gone")}, "set")
row("N28-fifo", 8, "E-NOT-REGULAR", lambda: {"data.npy": ("fifo",)})

# ---- values ----------------------------------------------------------------------------------


def array(dtype, shape, code, values):
    return npy(descr=f"'{dtype}'", shape=shape, data=struct.pack(f"<{len(values)}{code}", *values))


LABELS = array("<i8", "(2,)", "q", [3, 4])
row("C01-folder", 8, "E-CALIB-EMPTY", lambda: {"set": ("directory",)}, "set")
row("C01-no-files", 8, "E-CALIB-EMPTY", lambda: {"set/README.txt": b"nothing here"}, "set")
npz("C01-archive", 8, "E-CALIB-EMPTY", archive)
npz("C02-unknown", 8, 'E-CALIB-NAME.*"inptu".*"input".*"logits"', lambda: archive(Entry("inptu")))
npz("C02-missing", 8, 'E-CALIB-NAME.*"labels".*"input"', lambda: archive(Entry("labels", LABELS)))
npz("C02-extra", 8, 'E-CALIB-NAME.*"mask"', lambda: archive(Entry(), Entry("mask")))
npz("C02-labels", 0, "", lambda: archive(Entry(), Entry("labels", LABELS)))
rows("C03-", [(dtype[1:], 8, "E-CALIB-DTYPE.*FLOAT", dtype, code) for dtype, code in (
    ("<f8", "d"), ("<f2", "e"), ("<i4", "i"), ("<i8", "q"))],
     lambda dtype, code: array(dtype, SHAPE, code, [1] * COUNT))
npz("C03-labels", 8, "E-CALIB-DTYPE", lambda: archive(
    Entry(), Entry("labels", array("<f4", "(2,)", "f", [1, 2]))))
npz("C03-expected", 8, "E-CALIB-DTYPE", lambda: archive(
    Entry(), Entry("logits", array("<f8", "(2, 10)", "d", [0] * 20))))
rows("C04-", [(name, 8, "E-CALIB-SHAPE", shape) for name, shape in (
    ("rank", "(2, 28, 28)"), ("channels", "(1, 2, 28, 28)"), ("last", "(2, 1, 784, 1)"),
    ("flat", "(1568,)"))],
     lambda shape: npy(shape=shape))
npz("C04-labels", 8, "E-CALIB-SHAPE", lambda: archive(
    Entry(), Entry("labels", array("<i8", "(3,)", "q", [1, 2, 3]))))
npz("C04-expected", 8, "E-CALIB-SHAPE", lambda: archive(
    Entry(), Entry("logits", array("<f4", "(3, 10)", "f", [0] * 30))))
rows("C05-", [
    ("nan", 8, r"E-CALIB-NONFINITE.*data\.npy.*sample 1.*element 216 is NaN", float("nan")),
    ("inf", 8, "E-CALIB-NONFINITE.*infinite", float("inf")),
    ("minus-inf", 8, "E-CALIB-NONFINITE.*infinite", float("-inf")),
], with_value)
row("C05-skip", 0, "", lambda: with_value(float("nan")), arguments="--nonfinite skip")
row("C05-all", 8, "E-CALIB-EMPTY", lambda: floats([float("nan")] * COUNT),
    arguments="--nonfinite skip")
row("C07", 0, "", lambda: floats([0.0] * COUNT))
row("C08", 0, "", lambda: with_value(1e38))

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
    else:
        os.symlink(content[1], path)


def manifest():
    lines = ["# id\tfile\tcommands\targuments\texit\tpattern of the error line"]
    for identity, _, file, arguments, exit_code, pattern in ROWS:
        lines.append("\t".join((identity, f"{identity}/{file}", "run", arguments, str(exit_code),
                                pattern)))
    return "\n".join(lines) + "\n"


def main():
    if sys.argv[1:] == ["--manifest"]:
        sys.stdout.write(manifest())
        return
    if len(sys.argv) != 2:
        sys.exit("usage: make_npy.py DIRECTORY | --manifest")
    for identity, build, file, *_ in ROWS:
        built = build()
        files = built if isinstance(built, dict) else {file: built}
        for name, content in files.items():
            write_file(os.path.join(sys.argv[1], identity, name), content)


if __name__ == "__main__":
    main()
