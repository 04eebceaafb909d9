"""An index opens as it was written, or says what is wrong with it."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig
from noduleclip.errors import ArtefactError, LibraryError, UsageError
from noduleclip.io.index import folder_opening as index_store
from noduleclip.io.index.folder import GROUP_ROWS, INDEX_FILES
from noduleclip.io.index.manifest import Manifest
from noduleclip.io.index.open import open_index
from stores import write_manifest

ROWS, EMB = 7, 8
MODEL = ModelConfig(emb=EMB, crop=CropConfig(fov_mm=40, windows_hu=((-1000, 400),)))
META = pl.DataFrame(
    {
        schema.DICOM_PATH: [f"{row}.dcm" for row in range(ROWS)],
        schema.DIAMETER_MM: [None, *(float(row) for row in range(1, ROWS))],
        schema.PATIENT_ID: [f"P{row}" for row in range(ROWS)],
    }
)


def unit_rows() -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).normal(size=(ROWS, EMB)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def bind(folder: Path) -> Manifest:
    return write_manifest(
        folder, model_id="m1", checkpoint_sha256="c1", model=MODEL, rows=ROWS, scale=10.0, bias=-2.5
    )  # fmt: skip


def write_index(folder: Path) -> Manifest:
    folder.mkdir(exist_ok=True)
    np.save(folder / schema.EMBEDDINGS, unit_rows())
    META.write_parquet(folder / schema.META)
    (folder / schema.TEXT_TOWER).write_bytes(b"encoder")
    return bind(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_index(tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_index(folder)
    return folder


def test_what_was_written_is_opened(tmp_path: Path) -> None:
    manifest = write_index(tmp_path)
    index = open_index(tmp_path)
    assert index.manifest == manifest
    assert index.manifest.model == MODEL
    assert (index.manifest.rows, index.manifest.emb) == (ROWS, EMB)
    np.testing.assert_array_equal(index.embeddings, unit_rows())
    assert isinstance(index.embeddings.base, np.memmap), "a large index is mapped, not read"
    assert index.scan().collect().equals(META.with_row_index(schema.ROW))


@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=12))
def test_rows_come_in_the_order_asked_for(sound: Path, rows: list[int]) -> None:
    frame = open_index(sound).read_rows(np.array(rows, np.int64))
    assert frame[schema.ROW].to_list() == rows
    assert frame[schema.DICOM_PATH].to_list() == [f"{row}.dcm" for row in rows]
    assert frame[schema.DIAMETER_MM].to_list() == [float(row) or None for row in rows]


def test_rows_are_found_in_every_part_of_the_file(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GROUP_ROWS, schema.META, 2)
    order = np.random.default_rng(0).permutation(META.height)
    assert open_index(sound).read_rows(order)[schema.ROW].to_list() == order.tolist()


@pytest.mark.parametrize("most", [0, 1 << 26])
def test_only_small_files_are_read_for_their_checksum(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    content = (folder / schema.TEXT_TOWER).read_bytes()
    (folder / schema.TEXT_TOWER).write_bytes(content[::-1])
    monkeypatch.setattr(index_store, "HASHED_BYTES", most)
    if most:
        with pytest.raises(ArtefactError, match=r"is not the file that index\.json names"):
            open_index(folder)
    else:
        open_index(folder)


def test_columns_are_read_whole(sound: Path) -> None:
    index = open_index(sound)
    assert index.read_columns([schema.DIAMETER_MM]).equals(META.select(schema.DIAMETER_MM))
    index.require_columns([schema.ROW, schema.DICOM_PATH])
    with pytest.raises(
        UsageError, match="the index has no column 'lobe'; it has row, dicom_path, diameter_mm, patient_id"
    ):
        index.read_columns([schema.DICOM_PATH, "lobe"])


def save(name: str, array: object) -> Callable[[Path], object]:
    """Replace an array and bind it anew: the sizes agree, the kind is wrong."""

    def corrupt(folder: Path) -> None:
        np.save(folder / name, np.asarray(array), allow_pickle=True)
        bind(folder)

    return corrupt


def keep_bytes(name: str, count: int) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:count])


def overwrite(name: str) -> Callable[[Path], object]:
    """Fill a file with noise of the same size."""
    return lambda folder: (folder / name).write_bytes(b"?" * (folder / name).stat().st_size)


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def change_manifest(**changes: Any) -> Callable[[Path], object]:
    """Change entries of the manifest; `...` removes one."""

    def corrupt(folder: Path) -> None:
        path = folder / schema.INDEX_MANIFEST
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))

    return corrupt


def write_fewer_rows(folder: Path) -> None:
    META.head(ROWS - 1).write_parquet(folder / schema.META)
    bind(folder)


def bind_meta(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], object]:
    """Change the rows and bind them anew."""

    def corrupt(folder: Path) -> None:
        change(META).write_parquet(folder / schema.META)
        bind(folder)

    return corrupt


def bind_bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Change a file's bytes and bind it anew."""

    def corrupt(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        bind(folder)

    return corrupt


def claim_rows(content: bytes) -> bytes:
    """Return of an array that it has a thousand million rows."""
    return content.replace(b"(7, 8), }         ", b"(1000000007, 8), }")


def _later_header(content: bytes) -> bytes:
    """Say in a header of version 2 that it is four thousand million bytes long."""
    return content[:6] + b"\x02\x00\xff\xff\xff\xff" + content[12:]


def of_files(**files: Any) -> Callable[[Path], object]:
    def corrupt(folder: Path) -> None:
        path = folder / schema.INDEX_MANIFEST
        values = json.loads(path.read_text())
        values["files"] |= files
        path.write_text(json.dumps(values))

    return corrupt


def write_manifest_text(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / schema.INDEX_MANIFEST).write_text(text)


def long_lists(meta: pl.DataFrame, size: int) -> pl.Expr:
    """Lists of readers' diameters that take no space in the file."""
    return pl.lit(pl.Series([5.0] * size)).implode().alias(schema.READER_DIAMETERS)


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (remove("index.json"), r"holds no index\.json; noduleclip embed did not finish here"),
    "manifest cut off": (keep_bytes("index.json", 40), r"index\.json: not readable as JSON"),
    "manifest a list": (lambda f: (f / "index.json").write_text("[]"), "expected a JSON object, found list"),
    "no embeddings": (remove("img_embeds.npy"), r"img_embeds\.npy: is missing; embed again"),
    "no rows file": (remove("meta.parquet"), r"meta\.parquet: is missing"),
    "no text encoder": (remove("text_tower.onnx"), r"text_tower\.onnx: is missing"),
    "embeddings cut off": (keep_bytes("img_embeds.npy", 200), r"img_embeds\.npy: has 200 bytes, index\.json says 352"),
    "rows cut off": (keep_bytes("meta.parquet", 50), r"meta\.parquet: has 50 bytes"),
    "text encoder cut off": (keep_bytes("text_tower.onnx", 4), r"has 4 bytes, index\.json says 7; embed again"),
    "embeddings noise": (overwrite("img_embeds.npy"), r"img_embeds\.npy: is not the file that index\.json names"),
    "rows noise": (overwrite("meta.parquet"), r"meta\.parquet: is not the file that index\.json names"),
    "objects": (save("img_embeds.npy", [{"a": 1}] * ROWS), r"img_embeds\.npy: not a readable array"),
    "float64": (save("img_embeds.npy", np.zeros((ROWS, EMB))), r"is float64 \(7, 8\), expected float32 \(7, 8\)"),
    "narrow": (save("img_embeds.npy", np.zeros((ROWS, 4), np.float32)), r"is float32 \(7, 4\), expected"),
    "more vectors": (save("img_embeds.npy", np.zeros((9, EMB), np.float32)), r"is float32 \(9, 8\), expected"),
    "flat": (save("img_embeds.npy", np.zeros(ROWS * EMB, np.float32)), r"is float32 \(56,\), expected"),
    "fewer rows": (write_fewer_rows, r"meta\.parquet: has 6 rows, index\.json says 7"),
    "newer schema": (change_manifest(schema_version=4), "this noduleclip reads 3; pip install --upgrade noduleclip"),
    "no schema": (change_manifest(schema_version=...), "schema version None"),
    "another unit": (change_manifest(unit="patient"), "unit 'patient' is none of nodule, outline"),
    "three views": (change_manifest(views=3), "views 3 is none of 1, 2, 4, 8"),
    "views a list": (change_manifest(views=[8]), r"views \[8\] is none of"),
    "no precision": (change_manifest(precision=...), "not a manifest of this tool .*precision"),
    "unknown key": (change_manifest(colour="red"), "not a manifest of this tool .*colour"),
    "key left out": (change_manifest(scale=...), "not a manifest of this tool .*scale"),
    "unknown setting": (change_manifest(model={"depth": 3}), "unknown setting 'depth'"),
    "bad setting": (change_manifest(model={"emb": 1}), r"--emb must .*\[8, 4096\]"),
    "model no mapping": (change_manifest(model=[]), "not a manifest of this tool"),
    "scale as text": (change_manifest(scale="10"), "rows, sizes or calibration are no numbers"),
    "no rows said": (change_manifest(rows=0), "rows, sizes or calibration are no numbers"),
    "files left out": (change_manifest(files={}), "not a manifest of this tool"),
    "manifest huge": (write_manifest_text('"' + "x" * (1 << 24) + '"'), "is larger than the 16,777,216 bytes that"),
    "manifest deep": (write_manifest_text('{"a":' * 100_000), r"index\.json: not readable as JSON"),
    "rows true": (change_manifest(rows=True), "rows, sizes or calibration are no numbers"),
    "rows in part": (change_manifest(rows=7.0), "rows, sizes or calibration are no numbers"),
    "rows without end": (change_manifest(rows=10**30), "rows, sizes or calibration are no numbers"),
    "scale not finite": (change_manifest(scale=float("nan")), "rows, sizes or calibration are no numbers"),
    "bias not finite": (change_manifest(bias=float("inf")), "rows, sizes or calibration are no numbers"),
    "model id a list": (change_manifest(model_id=["m1"]), "its files, model or width are others"),
    "another width": (change_manifest(emb=9), "its files, model or width are others"),
    "another file": (of_files(**{"../../etc/passwd": {"bytes": 5}}), "its files, model or width are others"),
    "a file that is a list": (of_files(**{schema.META: [5]}), "not a manifest of this tool"),
    "array claims more": (bind_bytes("img_embeds.npy", claim_rows), r"img_embeds\.npy: not a readable array"),
    "array of version 2": (bind_bytes("img_embeds.npy", _later_header), r"not a readable array \(version 2\.0, embed"),
    "columns first": (save("img_embeds.npy", np.zeros((EMB, ROWS), np.float32).T), "expected float32 .* row by row"),
    "rows all noise": (bind_bytes("meta.parquet", lambda rows: rows[::-1]), r"meta\.parquet: not a readable table"),
    "rows bound cut off": (bind_bytes("meta.parquet", lambda rows: rows[:-9]), r"meta\.parquet: not a readable table"),
    "rows of another kind": (bind_meta(lambda meta: meta.with_columns(pl.lit("6 mm").alias(schema.DIAMETER_MM))),
                             r"meta\.parquet: column diameter_mm is String, expected numbers; embed again"),
    "paths as numbers": (bind_meta(lambda meta: meta.with_columns(pl.lit(1.0).alias(schema.DICOM_PATH))),
                         r"meta\.parquet: column dicom_path is Float64, expected text; embed again"),
    "readers as whole numbers": (bind_meta(lambda meta: meta.with_columns(pl.lit([5]).alias("reader_margin"))),
                                 r"column reader_margin is List\(Int64\), expected text or numbers; embed again"),
    "lists of others": (bind_meta(lambda meta: meta.with_columns(pl.lit([5.0]).alias("reader_height"))),
                        r"column reader_height is List\(Float64\), expected text or numbers; embed again"),
    "lists of lists": (bind_meta(lambda meta: meta.with_columns(pl.lit([[5.0]]).alias(schema.READER_DIAMETERS))),
                       r"column reader_diameters_mm is List\(List\(Float64\)\), expected text or numbers"),
    "lists of the same number": (bind_meta(lambda meta: meta.with_columns(long_lists(meta, 10_000_000))),
                                 r"meta\.parquet: has [\d,]{10,} bytes without compression, allowed are 67,108,864"),
    "no patients": (bind_meta(lambda meta: meta.drop(schema.PATIENT_ID)), r"meta\.parquet: has no column patient_id"),
    "sizes as text": (change_manifest(files={name: {"bytes": "5"} for name in INDEX_FILES}),
                      "rows, sizes or calibration are no numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_is_broken_is_said(folder: Path, name: str) -> None:
    corrupt, message = CORRUPTIONS[name]
    corrupt(folder)
    with pytest.raises(ArtefactError, match=message) as caught:
        open_index(folder)
    assert str(folder) in str(caught.value)


def test_lists_of_more_readers_than_embed_writes_are_refused(folder: Path) -> None:
    bind_meta(lambda meta: meta.with_columns(long_lists(meta, 1025)))(folder)
    index = open_index(folder)
    for read in (partial(index.read_rows, [0]), partial(index.read_columns, [schema.READER_DIAMETERS])):
        with pytest.raises(ArtefactError, match="reader_diameters_mm has a list of 1,025 numbers, allowed are 1,024"):
            read()


def test_a_row_of_outlines_has_one_slice(folder: Path) -> None:
    triangle = "[[0,0],[4,0],[0,3]]"
    texts = [triangle, None, "no outline", *[triangle] * (ROWS - 3)]
    pl.DataFrame({schema.POINTS_JSON: texts}).write_parquet(folder / schema.OUTLINES)
    bind(folder)
    index = open_index(folder)
    ((first,), (second,), (third,)) = index.read_slices([0, 1, 2])
    assert first.outlines[0].tolist() == [[0, 0], [4, 0], [0, 3]]
    assert second.outlines == third.outlines == ()
    assert [one.dicom_path for one in (first, second, third)] == META[schema.DICOM_PATH][:3].to_list()


def test_a_row_of_nodules_has_their_slices(folder: Path) -> None:
    slices = [
        {"dicom_path": f"{z}.dcm", "frame": None, "z_mm": z, "outlines": [[[0, 0], [4, 0], [0, z]]]} for z in (1, 2)
    ]
    texts = [json.dumps(slices), "[]", *[None] * (ROWS - 2)]
    pl.DataFrame({schema.POINTS_JSON: texts}).write_parquet(folder / schema.OUTLINES)
    write_manifest(
        folder, model_id="m1", checkpoint_sha256="c1", model=MODEL, rows=ROWS, scale=10.0, bias=-2.5, unit="nodule"
    )
    first, second = open_index(folder).read_slices([0, 1])
    assert [(one.dicom_path, one.z_mm, len(one.outlines)) for one in first] == [("1.dcm", 1, 1), ("2.dcm", 2, 1)]
    assert [(one.dicom_path, one.outlines) for one in second] == [(META[1, schema.DICOM_PATH], ())]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rois.csv").touch()
    with pytest.raises(ArtefactError, match=r"rois.csv: a file, where an index folder is needed; .*--roi-csv"):
        open_index(tmp_path / "rois.csv")
    with pytest.raises(ArtefactError, match="nowhere: no such index folder; noduleclip embed makes one"):
        open_index(tmp_path / "nowhere")


def test_what_is_broken_inside_is_said_when_it_is_read(folder: Path) -> None:
    content = bytearray((folder / schema.META).read_bytes())
    content[4:60] = b"?" * 56  # the pages of the first column; the footer stays
    (folder / schema.META).write_bytes(content)
    bind(folder)
    index = open_index(folder)
    with pytest.raises(ArtefactError, match=r"meta\.parquet: is broken \(.*\); embed again"):
        index.read_rows([0, 1])
    with pytest.raises(ArtefactError, match=r"meta\.parquet: is broken \(.*\); embed again"):
        index.read_columns([schema.DICOM_PATH])


def test_an_error_of_polars_is_not_taken_for_a_broken_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_index(folder)

    def fail(*_arguments: object, **_options: object) -> None:
        raise pl.exceptions.ComputeError("shapes don't match: expected 3 elements in 'is_in' comparison, got 1")

    monkeypatch.setattr(pl.LazyFrame, "collect", fail)
    message = (
        r"meta\.parquet: polars [\d.]+ fails on this table, which is sound \(shapes don't match.*pip install --upgrade"
    )
    for work in (lambda: index.read_columns([schema.DICOM_PATH]), lambda: open_index(folder)):
        with pytest.raises(LibraryError, match=message):
            work()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (schema.ROI_CSV, f"is a folder of noduleclip prepare; embed its {schema.ROI_CSV} and name that index"),
        (schema.BEST_CHECKPOINT, "is a folder of noduleclip train; embed a table with its model and name that index"),
        ("notes.txt", "noduleclip embed makes one"),
    ],
)
def test_a_folder_of_another_command_is_named(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ArtefactError, match=re.escape(reason)):
        open_index(tmp_path)
