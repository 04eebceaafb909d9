"""check, --dry-run and doctor as a user calls them: their findings are those of the work."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from conftest import Collection, Command, train_arguments
from noduleclip import schema
from noduleclip.io.dicom import header_check
from noduleclip.io.dicom import pixels as dicom_pixels
from noduleclip.io.dicom import slice as dicom
from noduleclip.io.dicom.codestream import PixelLayout
from noduleclip.io.dicom.header import Header
from noduleclip.io.dicom.pixels import decode_pixels
from noduleclip.io.job_pool import WorkerCrashed
from noduleclip.io.slice_crops import SliceJob


@pytest.fixture
def flawed(collection: Collection, tmp_path: Path) -> Path:
    """The phantoms' table with five rows that cannot be used, for four reasons."""
    frame = pl.read_csv(collection.roi_csv)
    paths = [str(collection.roi_csv.parent / path) for path in frame[schema.DICOM_PATH]]
    (tmp_path / "text.dcm").write_text("not an image" * 50)
    paths[1], paths[4], paths[9] = "gone.dcm", "gone.dcm", str(tmp_path / "text.dcm")
    at = pl.int_range(pl.len())
    frame = frame.with_columns(
        pl.Series(schema.DICOM_PATH, paths),
        pl.when(at == 12).then(pl.col(schema.SPACING_ROW) * 2).otherwise(schema.SPACING_ROW).alias(schema.SPACING_ROW),
        *(pl.when(at == 15).then(500).otherwise(pl.col(name)).alias(name) for name in schema.BOX_COLUMNS),
    )
    frame.write_csv(tmp_path / "flawed.csv")
    return tmp_path / "flawed.csv"


def test_a_sound_table_is_counted(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    lists = [option for file in (collection.train, collection.val) for option in ("--patients-file", file)]
    done = noduleclip("check", "--roi-csv", collection.roi_csv, *lists, "--format", "json", "--out", tmp_path)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report == json.loads((tmp_path / schema.CHECK_REPORT).read_text())
    frame = pl.read_csv(collection.roi_csv)
    everyone, train, val = report["parts"]
    assert everyone["nodules"] == everyone["rows"] == frame[schema.NODULE_ID].n_unique()
    assert everyone["patients"] == 12
    assert train["patients"] == len(collection.train.read_text().split())
    for part in (everyone, train, val):
        assert sum(part["sizes"].values()) == part["nodules"]
    assert [line["slices"] for line in report["syntaxes"]] == [frame[schema.DICOM_PATH].n_unique()]
    assert report["rejected"] == []
    page = (Path(__file__).parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    keys = [*report, *everyone, *report["syntaxes"][0], *report["estimates"][0]]
    assert all(f"`{key}`" in page for key in keys)
    assert not (tmp_path / schema.REJECTS_CSV).exists()
    assert noduleclip("check", "--roi-csv", collection.roi_csv, "--out", tmp_path).code == 2


def test_check_rejects_the_rows_that_embed_rejects(
    noduleclip: Command, flawed: Path, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    common = ("--roi-csv", flawed, "--unit", "outline", "--max-rejects", 0.5, "--workers", 1)
    told = noduleclip("check", *common, "--out", tmp_path / "told")
    assert told.code == 0, told.err
    done = noduleclip("embed", *common, "--model", checkpoint, "--out-dir", tmp_path / "index", "--cache-dir", exported)
    assert done.code == 0, done.err
    foretold, happened = (pl.read_csv(tmp_path / name / schema.REJECTS_CSV) for name in ("told", "index"))
    assert foretold.equals(happened)
    assert foretold[schema.REJECT_CODE].to_list() == [
        "missing-file", "missing-file", "not-dicom", "spacing-mismatch", "outside",
    ]  # fmt: skip
    assert told.out == (tmp_path / "told" / schema.REJECTS_CSV).read_text()


def test_check_ends_with_the_exit_code_of_embed(noduleclip: Command, flawed: Path, tmp_path: Path) -> None:
    done = noduleclip(
        "check", "--roi-csv", flawed, "--unit", "outline", "--format", "table", "--out", tmp_path / "told"
    )
    assert done.code == 3
    assert "rows cannot be used (2 missing-file" in done.err
    assert "allowed is a share of 0.01 (--max-rejects)" in done.err
    for text in ("rows that cannot be used", "spacing-mismatch", "Explicit VR Little Endian", "cutting crops"):
        assert text in done.out
    assert (tmp_path / "told" / schema.REJECTS_CSV).exists()


def test_lists_that_share_patients_are_refused(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text(collection.val.read_text().lower())
    done = noduleclip(
        "check", "--roi-csv", collection.roi_csv, "--patients-file", collection.val, "--patients-file",
        tmp_path / "twice.txt",
    )  # fmt: skip
    assert done.code == 3
    assert f"stand in both {collection.val} and {tmp_path / 'twice.txt'}: PHANTOM-" in done.err


def test_only_a_sample_is_decoded(
    noduleclip: Command, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def count(header: Header, layout: PixelLayout, max_pixels: int) -> object:
        decoded.append(header.path)
        return decode_pixels(header, layout, max_pixels)

    monkeypatch.setattr(dicom, "decode_pixels", count)
    done = noduleclip("check", "--roi-csv", collection.roi_csv, "--cache-dir", tmp_path / "cache")
    assert done.code == 0, done.err
    assert 0 < len(decoded) <= 16 < pl.read_csv(collection.roi_csv)[schema.DICOM_PATH].n_unique()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("command", ["train", "embed"])
def test_a_dry_run_writes_nothing(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path, command: str
) -> None:
    arguments: list[object] = train_arguments(collection, tmp_path / "out", "--cache-dir", tmp_path / "cache")
    if command == "embed":
        held = {path for path in exported.rglob("*") if path.is_file()}
        arguments = ["embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", tmp_path / "out"]
        arguments += ["--cache-dir", exported]
    done = noduleclip(*arguments, "--dry-run")
    assert done.code == 0, done.err
    assert "rows can be used" in done.err
    for text in ("estimated work", "cutting crops", "training" if command == "train" else "embedding"):
        assert text in done.out
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()
    if command == "embed":
        assert held == {path for path in exported.rglob("*") if path.is_file()}


def test_a_dry_run_rejects_what_training_would(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    table = collection.roi_csv.parent / "unmeasured.csv"
    unknown = pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.col(schema.DIAMETER_MM))
    pl.read_csv(collection.roi_csv).with_columns(unknown.alias(schema.DIAMETER_MM)).write_csv(table)
    arguments = train_arguments(collection, tmp_path / "out")
    arguments[arguments.index(collection.roi_csv)] = table
    told, done = noduleclip(*arguments, "--dry-run"), noduleclip(*arguments)
    assert told.code == done.code == 3
    assert "no-diameter" in told.err
    assert told.err.splitlines()[-1] == done.err.splitlines()[-1]


def test_diameters_that_contradict_their_boxes_are_a_warning(
    noduleclip: Command, collection: Collection, tmp_path: Path
) -> None:
    frame = pl.read_csv(collection.roi_csv).with_columns(
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH),
        pl.when(pl.int_range(pl.len()) == 6).then(90.0).otherwise(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM),
    )
    frame.write_csv(tmp_path / "with.csv")
    frame.drop(schema.SPACING_ROW, schema.SPACING_COL).write_csv(tmp_path / "without.csv")
    for name in ("with.csv", "without.csv"):  # without, the headers' spacing is asked
        done = noduleclip("check", "--roi-csv", tmp_path / name)
        assert done.code == 0
        assert "in 1 row(s) diameter_mm and the box disagree 3-fold; first: row 7 has 90 mm in a box of" in done.err
    assert "disagree" not in noduleclip("check", "--roi-csv", collection.roi_csv).err


def test_an_outline_around_one_pixel_does_not_contradict_its_box(
    noduleclip: Command, collection: Collection, tmp_path: Path
) -> None:
    spacing_mm, x_px = pl.col(schema.SPACING_COL), pl.col(schema.BBOX_XMIN)
    y_px = pl.col(schema.BBOX_YMIN)
    one_pixel = pl.read_csv(collection.roi_csv).with_columns(
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH),
        (x_px + 2).alias(schema.BBOX_XMAX),
        (y_px + 2).alias(schema.BBOX_YMAX),
        (spacing_mm * 0.99).alias(schema.DIAMETER_MM),
    )
    one_pixel.write_csv(tmp_path / "one.csv")
    assert "disagree" not in noduleclip("check", "--roi-csv", tmp_path / "one.csv").err
    one_pixel.with_columns(pl.col(schema.DIAMETER_MM) / 10).write_csv(tmp_path / "cm.csv")  # in cm by mistake
    assert "disagree 3-fold" in noduleclip("check", "--roi-csv", tmp_path / "cm.csv").err


def test_a_folder_in_place_of_a_table_is_named_as_one(noduleclip: Command, tmp_path: Path) -> None:
    done = noduleclip("check", "--roi-csv", tmp_path)
    assert done.code == 3
    assert done.err == f"error: {tmp_path}: is a folder; the ROI table is a file, CSV or Parquet\n"


def test_real_tables_raise_no_false_alarm(noduleclip: Command, shared_data: Path) -> None:
    done = noduleclip("check", "--roi-csv", shared_data / "lidc_slices" / "rois.csv", "--strict")
    assert done.code == 0
    assert done.err.splitlines() == [
        "83 rows of the table are of 2 nodules: one row per nodule (--unit outline keeps every row)",
        "all 2 rows can be used",
    ]  # fmt: skip


def test_restrict_to_root_refuses_files_elsewhere(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    assert noduleclip("check", "--roi-csv", collection.roi_csv, "--restrict-to-root").code == 0
    outside = collection.roi_csv.parent / pl.read_csv(collection.roi_csv)[0, schema.DICOM_PATH]
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.dcm").symlink_to(outside)
    for text in (str(outside), os.path.relpath(outside, tmp_path / "root"), "link.dcm"):
        (tmp_path / "rois.csv").write_text(f"{','.join(schema.REQUIRED_COLUMNS)}\n{text},5,10,10,20,20\n")
        arguments = ("check", "--roi-csv", tmp_path / "rois.csv", "--dicom-root", tmp_path / "root")
        assert noduleclip(*arguments).code == 0
        refused = noduleclip(*arguments, "--restrict-to-root")
        assert refused.code == 3
        assert f"row 1, column dicom_path: {text!r} lies outside {tmp_path / 'root'}; --restrict-to-root" in refused.err


def test_larger_slices_are_rejected(noduleclip: Command, collection: Collection) -> None:
    refused = noduleclip("check", "--roi-csv", collection.roi_csv, "--max-pixels", 96 * 96 - 1)
    assert refused.code == 3
    assert "96 x 96 pixels, more than the limit of 9215" in refused.err
    assert noduleclip("check", "--roi-csv", collection.roi_csv, "--max-pixels", 96 * 96).code == 0


def test_doctor_finds_a_sound_installation(noduleclip: Command, tmp_path: Path) -> None:
    done = noduleclip("doctor", "--format", "json", "--cache-dir", tmp_path)
    assert done.code == 0, done.err
    found = {line["what"]: line["found"] for line in map(json.loads, done.out.splitlines())}
    assert {"noduleclip", "torch", "device", "JPEG 2000 Image Compression", "crop cache", "completion"} <= set(found)
    assert found["crop cache"].startswith(f"{tmp_path}: 0 files, 0 bytes; ")


def test_doctor_names_what_is_broken(noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class _Bare:
        available_plugins = ()

    monkeypatch.setattr(dicom_pixels, "get_decoder", lambda _syntax: _Bare())
    done = noduleclip("doctor", "--format", "csv", "--cache-dir", tmp_path)
    assert done.code == 4
    assert done.err == "error: RLE Lossless: no decoder (pip install pydicom); pip install pydicom\n"


def test_a_header_that_crashes_its_worker_rejects_its_rows_only(
    noduleclip: Command, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(
        work: Callable[[SliceJob], object], jobs: Sequence[SliceJob], _workers: int
    ) -> Iterator[tuple[SliceJob, object]]:
        for number, job in enumerate(jobs):
            yield job, WorkerCrashed() if number == 2 else work(job)

    monkeypatch.setattr(header_check, "run_jobs", run)
    done = noduleclip("check", "--roi-csv", collection.roi_csv, "--max-rejects", 0.5, "--format", "json")
    assert done.code == 0, done.err
    (rejected,) = json.loads(done.out)["rejected"]
    assert rejected["code"] == "bad-header"
    assert "reading it ended the process" in rejected["first"]
