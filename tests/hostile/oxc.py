"""oxc.py - calibration artefacts that nobody's calibration wrote: cut, flipped, with sections that
lie, overlap or claim more than there is, with hashes that fit and contents that do not. Each goes
through the commands that read artefacts, which would accept it as it was before: exit 3 (8 where
the file is a good one of something else), one error line, nothing written, in time.

`checks(binary, sanitised)` yields a list of faults per case, empty when it passed.
"""
import ctypes
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(os.path.dirname(os.path.dirname(HERE)), "models", "fashion_mnist.onnx")
SECONDS, SECONDS_SANITISED = 20, 120
TABLES = {"identity": 1, "samples": 2, "tensors": 3, "layers": 4, "fisher": 5, "state": 6,
          "histogram": 7, "by_sample": 8, "sums": 9, "h": 10, "powers": 12, "squares": 13}
HEAD, ENTRY, TAIL = 16, 32, 40

xxhash = ctypes.CDLL("libxxhash.so.0")  # the command is linked to it
xxhash.XXH3_64bits.restype = ctypes.c_uint64
xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data):
    return xxhash.XXH3_64bits(bytes(data), len(data))


# ---- a file in parts ---------------------------------------------------------------------------


def take_apart(data):
    """The head and [(tag, item, bytes)]."""
    offset, count = struct.unpack("<QQ", data[-TAIL:-TAIL + 16])
    entries = [struct.unpack_from("<IIQQQ", data, offset + ENTRY * i) for i in range(count)]
    return data[:HEAD], [(tag, item, data[at:at + length]) for tag, item, at, length, _ in entries]


def put_together(head, sections, entries=lambda rows: rows, tail=lambda numbers: numbers,
                 hashed=True):
    """A file around the sections. `entries` and `tail` may change what index and end say."""
    body, rows = bytearray(head), []
    for tag, item, data in sections:
        rows.append([tag, item, len(body), len(data), xxh3(data)])
        body += data + bytes(-len(data) % 8)
    rows = entries(rows)
    offset = len(body)
    index = b"".join(struct.pack("<IIQQQ", *row) for row in rows)
    numbers = struct.pack("<QQQ", *tail([offset, len(rows), offset + len(index) + TAIL]))
    seal = xxh3(head + index + numbers) if hashed else 0
    return bytes(body) + index + numbers + struct.pack("<Q", seal) + b"OXC-END\n"


# ---- the cases ---------------------------------------------------------------------------------

M64 = (1 << 64) - 1


def text(value):
    return struct.pack("<I", len(value)) + value


def with_section(parts, name, change, item=0):
    head, sections = parts
    tag = TABLES[name]
    return put_together(head, [(t, i, change(d) if (t, i) == (tag, item) else d)
                               for t, i, d in sections])


def put(format_, at, *values):
    """Overwrites what lies at a place, from the end where that is negative."""
    def change(data):
        where = at if at >= 0 else len(data) + at
        packed = struct.pack(format_, *values)
        return data[:where] + packed + data[where + len(packed):]
    return change


def shape_cases(good, parts):
    """What the container says of itself."""
    head, sections = parts
    yield "empty", b""
    yield "one-byte", b"\x89"
    yield "other-file", b"\x89PNG\r\n\x1a\n" + bytes(200)
    yield "head-alone", good[:HEAD]
    yield "head-and-tail", good[:HEAD] + good[-TAIL:]
    yield "twice", good + good
    yield "behind-the-end", good + b"x"
    for cut in sorted({1, 8, 39, 40, 41, 72, 1000, len(good) // 3, len(good) // 2}):
        yield f"cut-{cut}", good[:-cut]
    for version in (0, 2, 0xFFFFFFFF):
        yield f"version-{version}", put_together(head[:8] + struct.pack("<I", version) + head[12:],
                                                 sections)
    for kind in (0, 2, 3, 0xFFFFFFFF):
        yield f"kind-{kind}", put_together(head[:12] + struct.pack("<I", kind), sections)
    yield "no-hash", put_together(head, sections, hashed=False)
    for name, at, value in (("offset-0", 0, 0), ("offset-max", 0, M64), ("offset-16", 0, 16),
                            ("count-0", 1, 0), ("count-max", 1, M64), ("count-wraps", 1, 1 << 59),
                            ("count-more", 1, len(sections) + 1), ("bytes-0", 2, 0),
                            ("bytes-max", 2, M64)):
        yield name, put_together(head, sections,
                                 tail=lambda n, at=at, value=value: n[:at] + [value] + n[at + 1:])


def index_cases(parts):
    """Sections that are not where or what they should be."""
    head, sections = parts

    def changed(row, column, value):
        def change(rows):
            rows[row][column] = value(rows[row][column]) if callable(value) else value
            return rows
        return put_together(head, sections, entries=change)

    last = len(sections) - 1
    yield "overlap", changed(1, 2, HEAD)
    yield "offset-inside", changed(2, 2, lambda at: at - 8)
    yield "offset-beyond", changed(last, 2, 1 << 40)
    yield "offset-wraps", changed(last, 2, M64 - 7)
    yield "bytes-wrap", changed(last, 3, M64)
    yield "bytes-wrap-to-0", changed(0, 3, M64 - HEAD + 1)
    yield "bytes-0", changed(0, 3, 0)
    yield "bytes-longer", changed(0, 3, lambda n: n + 8)
    yield "bytes-shorter", changed(0, 3, lambda n: n - 8)
    yield "hash-0", changed(0, 4, 0)
    yield "tag-twice", changed(1, 0, TABLES["identity"])
    yield "tag-falls", changed(last, 0, 1)
    yield "order", put_together(head, sections[::-1])
    yield "hole", put_together(head, sections, entries=lambda rows: rows[:1] + rows[2:])
    yield "no-sections", put_together(head, [])
    dirty = bytearray(put_together(head, [(t, i, d + b"x" if t == 1 else d)
                                          for t, i, d in sections]))
    rows = struct.unpack_from("<IIQQQ", dirty, struct.unpack("<Q", dirty[-TAIL:-TAIL + 8])[0])
    dirty[rows[2] + rows[3]] = 1 if (rows[2] + rows[3]) % 8 else dirty[rows[2] + rows[3]]
    yield "padding", bytes(dirty)
    for tag in sorted({t for t, _, _ in sections}):
        yield f"without-{tag}", put_together(head, [s for s in sections if s[0] != tag])


def content_cases(parts):
    """Sections whose hashes fit and whose contents cannot be."""
    change = lambda name, function, item=0: with_section(parts, name, function, item)
    for name in TABLES:
        if any(t == TABLES[name] for t, _, _ in parts[1]):
            yield f"{name}-empty", change(name, lambda d: b"")
            yield f"{name}-cut", change(name, lambda d: d[:-1])
            yield f"{name}-longer", change(name, lambda d: d + bytes(8))
    yield "data-0", change("identity", put("<Q", 24, 0))
    yield "data-max", change("identity", put("<Q", 24, M64))
    yield "data-wraps", change("identity", put("<Q", 24, 1 << 61))
    yield "options-long", change("identity", put("<I", 40, 0xFFFFFFFF))
    yield "options-nul", change("identity", put("<B", 44, 0))
    yield "moments-3", change("identity", put("<B", -1, 3))
    yield "moments-255", change("identity", put("<B", -1, 255))
    for value in (0, 1, 3, 1 << 61, M64):
        yield f"samples-{value}", change("samples", put("<Q", 0, value))
    yield "all-set-aside", change("samples", put("<4B", -4, 1, 1, 1, 1))
    yield "mark-2", change("samples", put("<B", -1, 2))
    yield "one-set-aside", change("samples", put("<B", -1, 1))
    for table in ("tensors", "layers"):
        for value in (0, 1, 1 << 40, M64):
            yield f"{table}-{value}", change(table, put("<Q", 0, value))
        yield f"{table}-name-long", change(table, put("<I", 8, 0x7FFFFFFF))
    first = 8 + 4 + struct.unpack_from("<I", parts[1][3][2], 8)[0] + 4
    for groups, columns in ((0, 9), (9, 0), (1, M64), (M64, 1), (1 << 32, 1 << 32),
                            (1, 1 << 33), (1 << 33, 1), (1, 10), (2, 9)):
        yield f"layer-{groups}x{columns}", change("layers", put("<QQ", first, groups, columns))
    yield "layer-nodes-max", change("layers", put("<Q", first + 16, M64))
    for exponent in (-150, 129, -(1 << 31), (1 << 31) - 1):
        yield f"exponent-{exponent}", change("histogram", put("<i", 0, exponent))
    nan, infinity = float("nan"), float("inf")
    for low, high in ((nan, 1), (0, nan), (-infinity, infinity), (1, 0), (0, 1e30)):
        yield f"range-{low}-{high}", change("histogram", put("<ff", 4, low, high))
    for value in (0, 1, M64):
        yield f"counted-{value}", change("histogram", put("<Q", 12, value))
    for value in (0, 4097, 0xFFFFFFFF):
        yield f"bins-{value}", change("histogram", put("<I", 36, value))
        if value:
            yield f"negative-bins-{value}", change("histogram", put("<I", 40, value))
    yield "gap", change("histogram", lambda d: d[:44] + b"\xff\xff\x7f" + d[47:])
    yield "varint", change("histogram", lambda d: d[:44] + b"\xff" * 10 + d[54:])
    yield "empty-bin", change("histogram", lambda d: d[:44] + b"\x00\x00" + d[46:])
    yield "low-nan", change("by_sample", put("<f", 0, nan))
    yield "low-infinite", change("by_sample", put("<f", 0, -infinity))
    yield "low-above-high", change("by_sample", put("<f", 0, 1e20))
    yield "estimator", change("fisher", lambda d: text(b"other") + d[10:])
    outputs = 4 + struct.unpack_from("<I", parts[1][4][2], 0)[0] + 1
    for value in (0, 2, 1 << 60, M64):
        yield f"outputs-{value}", change("fisher", put("<Q", outputs, value))
        yield f"weights-{value}", change("fisher", put("<Q", outputs + 9, value))


def flip_cases(good, count):
    """A bit of the file is another: anywhere, and everywhere in head, index and end."""
    draw = random.Random(5)
    offset = struct.unpack("<Q", good[-TAIL:-TAIL + 8])[0]
    places = list(range(HEAD)) + [draw.randrange(offset, len(good)) for _ in range(count // 4)]
    places += list(range(len(good) - TAIL, len(good)))
    places += [draw.randrange(HEAD, offset) for _ in range(count)]
    for place in places:
        flipped = bytearray(good)
        flipped[place] ^= 1 << draw.randrange(8)
        yield f"flip-{place}", bytes(flipped)


def write_samples(path, seed):
    draw = random.Random(seed)
    count = 4 * 28 * 28
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 1, 28, 28), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
        file.write(struct.pack(f"<{count}f", *(draw.random() for _ in range(count))))


# ---- running -----------------------------------------------------------------------------------


class Bench:
    def __init__(self, binary, sanitised, directory):
        self.binary, self.directory = binary, directory
        self.seconds = SECONDS_SANITISED if sanitised else SECONDS

    def path(self, name):
        return os.path.join(self.directory, name)

    def run(self, *arguments):
        try:
            return subprocess.run([self.binary, *arguments], capture_output=True,
                                  timeout=self.seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return None

    def arguments(self, command):
        return [word.replace("BAD", self.path("bad.oxc")).replace("GOOD", self.path("b.oxc"))
                .replace("OUT", self.path("out.oxc")).replace("MODEL", MODEL)
                .replace("DATA", self.path("a.npy")) for word in command.split()]

    def accepted(self, good):
        """The file that the others are made of is good."""
        with open(self.path("bad.oxc"), "wb") as file:
            file.write(good)
        for command in EVERYWHERE + (READ,):
            result = self.run(*self.arguments(command))
            yield [] if result and result.returncode == 0 else [
                f"FAIL oxc: a good file was refused by {command}: {result and result.stderr}"]
            if os.path.exists(self.path("out.oxc")):
                os.remove(self.path("out.oxc"))

    def faults(self, command, data, expected):
        """What is wrong with how a command met a file."""
        with open(self.path("bad.oxc"), "wb") as file:
            file.write(data)
        before = sorted(os.listdir(self.directory))
        result = self.run(*self.arguments(command))
        if result is None:
            yield "did not end in time"
            return
        lines = [line for line in result.stderr.split(b"\n") if line]
        if result.returncode != expected:
            yield f"exit {result.returncode}, expected {expected}: {result.stderr[-300:]}"
        elif len(lines) != 1 or not re.match(rb"onnxpress: error E-[A-Z0-9-]+: ", lines[0]):
            yield f"not one error line: {result.stderr[-300:]}"
        elif any(byte < 0x20 or byte == 0x7F for byte in lines[0]) or len(lines[0]) > 1024:
            yield f"an error line that is no line: {lines[0][:200]}"
        if result.stdout:
            yield "something on stdout"
        if sorted(os.listdir(self.directory)) != before:
            yield f"files left: {sorted(set(os.listdir(self.directory)) - set(before))}"
        with open(self.path("bad.oxc"), "rb") as file:
            if file.read() != data:
                yield "the artefact was written to"


MERGE = "calibrate --merge BAD GOOD -o OUT"
SECOND = "calibrate --merge GOOD BAD -o OUT"
RESUME = "calibrate MODEL --data DATA -o BAD --resume"
READ = "sensitivity MODEL --stats BAD"
EVERYWHERE = (MERGE, SECOND, RESUME)
OF_SOMETHING_ELSE = {"estimator"}


def cases(good, parts, sanitised):
    for name, data in shape_cases(good, parts):
        yield name, data, EVERYWHERE + (READ,)
    for name, data in index_cases(parts):
        yield name, data, EVERYWHERE
    for name, data in content_cases(parts):
        yield name, data, (MERGE, RESUME)
    for name, data in flip_cases(good, 30 if sanitised else 120):
        yield name, data, (MERGE,)


def checks(binary, sanitised):
    directory = tempfile.mkdtemp(prefix="onnxpress-oxc-")
    try:
        bench = Bench(binary, sanitised, directory)
        for name in ("a", "b"):
            write_samples(bench.path(name + ".npy"), name)
            made = bench.run("calibrate", MODEL, "--data", bench.path(name + ".npy"), "-o",
                             bench.path(name + ".oxc"), "-q")
            if made is None or made.returncode:
                yield [f"FAIL oxc: no artefact to start from: {made and made.stderr}"]
                return
        with open(bench.path("a.oxc"), "rb") as file:
            good = file.read()
        parts = take_apart(good)
        same = put_together(*parts) == good
        yield [] if same else ["FAIL oxc: what is put together again is another file"]
        yield from bench.accepted(good)
        for name, data, commands in cases(good, parts, sanitised):
            for command in commands:
                expected = 8 if name in OF_SOMETHING_ELSE else 3
                yield [f"FAIL oxc {name}, {command.replace('MODEL ', '')}: {fault}"
                       for fault in bench.faults(command, data, expected)]
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    import sys
    with open(sys.argv[1], "rb") as file_:
        asan = b"__asan_init" in file_.read()
    results = list(checks(sys.argv[1], asan))
    for found in results:
        for line in found:
            print(line)
    print(f"{len(results) - sum(map(bool, results))} passed, {sum(map(bool, results))} failed")
