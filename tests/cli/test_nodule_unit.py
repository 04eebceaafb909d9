"""An index of nodules: a row each, on the slice where it is largest, with the values of all readers."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import noduleclip as nc
from conftest import Collection, Command, call
from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.io.index.open import open_index
from noduleclip.io.patients import split_patients
from noduleclip.io.roi_table import read_roi_table
from noduleclip.io.size_bins import count_bins
from noduleclip.workflows.roi_crops import TableRequest
from noduleclip.workflows.training_samples import load_training_samples
from stores import copy_index

SIZES_MM = {"large": 9.0, "larger": 22.0, "small": 5.0}
READERS_MM = {"1": 0.4, "2": -0.4}  # what each draws beyond the sphere


@dataclass(frozen=True)
class Spheres:
    """Spheres of known diameter, outlined by two readers on each slice that they reach.

    Attributes:
        table: The ROI table.
        slices: Outlined slices of each sphere.
    """

    table: Path
    slices: dict[str, int]


@pytest.fixture(scope="module")
def spheres(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Spheres:
    patient = read_roi_table(collection.roi_csv).frame.row(0, named=True)
    files = sorted(Path(patient[schema.ABSOLUTE_PATH]).parent.glob("*.dcm"))
    spacing_mm, middle, step_mm = patient[schema.SPACING_ROW], len(files) // 2, 3.5
    rows: list[dict[str, Any]] = []
    for number, (name, size_mm) in enumerate(SIZES_MM.items()):
        for at in range(len(files)):
            radius_mm = math.sqrt(max(0.0, (size_mm / 2) ** 2 - ((at - middle) * step_mm) ** 2))
            if radius_mm < 1:
                continue
            for reader, beyond_mm in READERS_MM.items():
                radius_px = (radius_mm + beyond_mm / 2) / spacing_mm
                x, y = 40.0 + 20 * number + (0.5 if reader == "1" else 0), 60.0
                angles = np.linspace(0, 2 * math.pi, 32, endpoint=False)
                points = np.stack([x + radius_px * np.cos(angles), y + radius_px * np.sin(angles)], axis=1).round(2)
                box = (*np.floor(points.min(axis=0)), *np.ceil(points.max(axis=0)))
                rows.append({
                    schema.DICOM_PATH: str(files[at]), schema.DIAMETER_MM: 2 * radius_mm + beyond_mm,
                    schema.PATIENT_ID: "P", schema.NODULE_ID: name, schema.READER: reader, schema.Z_MM: at * step_mm,
                    schema.SPACING_ROW: spacing_mm, schema.SPACING_COL: spacing_mm,
                    schema.MALIGNANCY: 5 if reader == "1" else 2, schema.POINTS_JSON: json.dumps(points.tolist()),
                    **dict(zip(schema.BOX_COLUMNS, box, strict=True)),
                })  # fmt: skip
    folder = tmp_path_factory.mktemp("spheres")
    pl.DataFrame(rows).sort(schema.DICOM_PATH, maintain_order=True).write_csv(folder / "rois.csv")
    slices = {name: sum(row[schema.NODULE_ID] == name for row in rows) // 2 for name in SIZES_MM}
    return Spheres(folder / "rois.csv", slices)


def embed(table: Path, checkpoint: Path, cache: Path, out: Path, *more: object) -> Any:
    done = call(
        "embed", "--roi-csv", table, "--model", checkpoint, "--out-dir", out, "--device", "cpu", "--cache-dir", cache,
        *more,
    )  # fmt: skip
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def index_of_spheres(spheres: Spheres, checkpoint: Path, exported: Path) -> Path:
    out = spheres.table.parent / "index"
    done = embed(spheres.table, checkpoint, exported, out)
    outlines = 2 * sum(spheres.slices.values())
    told = f"{outlines} rows of the table are of 3 nodules: one row per nodule (--unit outline keeps every row)"
    assert done.err.splitlines().count(told) == 1
    return out


def ask(index: Path, sentence: str) -> pl.DataFrame:
    done = call("query", "--emb-dir", index, "--query", sentence, "--topk", 100, "--format", "csv")
    assert done.code == 0, done.err
    return pl.read_csv(done.out.encode())


def test_poles_of_large_nodules_are_no_small_nodules(
    spheres: Spheres, index_of_spheres: Path, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    hits = ask(index_of_spheres, "<= 6 mm")
    assert sorted(hits[schema.NODULE_ID]) == sorted(SIZES_MM), "each nodule once"
    assert hits.filter(pl.col(schema.SATISFIES))[schema.NODULE_ID].to_list() == ["small"]
    large = ask(index_of_spheres, "> 8 mm").filter(pl.col(schema.SATISFIES))
    assert sorted(large[schema.NODULE_ID]) == ["large", "larger"]
    embed(spheres.table, checkpoint, exported, tmp_path / "outlines", "--unit", "outline")
    poles = ask(tmp_path / "outlines", "<= 6 mm").filter(schema.SATISFIES)
    assert "large" in poles[schema.NODULE_ID], "the table has them"


def test_a_row_has_the_consensus_and_the_values_of_each_reader(spheres: Spheres, index_of_spheres: Path) -> None:
    index = open_index(index_of_spheres)
    assert index.manifest.unit == "nodule"
    for row in index.read_rows([0, 1, 2]).iter_rows(named=True):
        size_mm = SIZES_MM[row[schema.NODULE_ID]]
        assert row[schema.DIAMETER_MM] == pytest.approx(size_mm, abs=0.15), "a slice may miss the middle"
        assert row[schema.READER_DIAMETERS] == pytest.approx([row[schema.DIAMETER_MM] + it for it in (0.4, -0.4)])
        assert (row[schema.READERS], row[schema.SLICES]) == (2, spheres.slices[row[schema.NODULE_ID]])
        assert (row["reader_malignancy"], row[schema.MALIGNANCY]) == ([5, 2], 3.5)
        assert schema.READER not in row


@pytest.mark.parametrize("kind", ["folder", "lance"])
def test_the_slices_of_a_nodule_carry_the_outlines_of_all_readers(
    spheres: Spheres, index_of_spheres: Path, tmp_path: Path, kind: str
) -> None:
    index = open_index(copy_index(index_of_spheres, kind, tmp_path / "copy"))
    assert index.manifest.unit == "nodule"
    rows = index.read_rows([2, 0])
    for row, slices in zip(rows.iter_rows(named=True), index.read_slices([2, 0]), strict=True):
        assert len(slices) == spheres.slices[row[schema.NODULE_ID]]
        assert [one.z_mm for one in slices] == sorted(float(one.z_mm or 0) for one in slices)
        (key,) = [one for one in slices if one.dicom_path == row[schema.DICOM_PATH]]
        widths_mm = [np.ptp(outline[:, 0]) * row[schema.SPACING_COL] for outline in key.outlines]
        assert widths_mm == pytest.approx(row[schema.READER_DIAMETERS], abs=0.1)


def test_a_nodule_is_named_by_any_slice_of_it(index_of_spheres: Path, noduleclip: Command) -> None:
    """At the place of its outline, or by the slice alone where no other nodule was outlined."""
    index = open_index(index_of_spheres)
    rows = {row[schema.NODULE_ID]: row for row in index.read_rows([0, 1, 2]).iter_rows(named=True)}
    for name in ("large", "larger"):
        row = rows[name]
        pole = index.read_slices([row[schema.ROW]])[0][0]
        assert pole.dicom_path != row[schema.DICOM_PATH]
        place = f"{pole.dicom_path}:{row[schema.CENTER_X]:g},{row[schema.CENTER_Y]:g}"
        done = noduleclip("query", "--emb-dir", index_of_spheres, "--like", place, "--format", "csv")
        assert done.code == 0, done.err
        assert f"similar to row {row[schema.ROW]}" in done.err
        assert row[schema.ROW] not in pl.read_csv(done.out.encode())[schema.ROW]
    pole = index.read_slices([rows["larger"][schema.ROW]])[0][0]
    alone = noduleclip("query", "--emb-dir", index_of_spheres, "--like", pole.dicom_path, "--format", "csv")
    assert f"similar to row {rows['larger'][schema.ROW]}" in alone.err
    shared = index.read_slices([rows["large"][schema.ROW]])[0][0].dicom_path
    several = noduleclip("query", "--emb-dir", index_of_spheres, "--like", shared)
    assert several.code == 2
    assert "several nodules were outlined on this slice; name a row of" in several.err


def test_a_nodule_that_cannot_be_used_names_its_row(
    spheres: Spheres, checkpoint: Path, exported: Path, tmp_path: Path, noduleclip: Command
) -> None:
    frame = pl.read_csv(spheres.table, infer_schema=False)
    nodules = open_index(spheres.table.parent / "index").scan().collect()
    row = nodules.filter(pl.col(schema.NODULE_ID) == "large")[0, schema.CSV_ROW]
    gone = pl.when(pl.col(schema.DICOM_PATH) == frame[row - 1, schema.DICOM_PATH]).then(pl.lit("gone.dcm"))
    is_large = pl.col(schema.NODULE_ID) == "large"
    frame.with_columns(
        pl.when(is_large).then(gone.otherwise(schema.DICOM_PATH)).otherwise(schema.DICOM_PATH).alias(schema.DICOM_PATH)
    ).write_csv(tmp_path / "rois.csv")
    arguments = ("embed", "--roi-csv", tmp_path / "rois.csv", "--model", checkpoint, "--cache-dir", exported)
    done = noduleclip(*arguments, "--out-dir", tmp_path / "few", "--max-rejects", 0.3)
    assert done.code == 3
    assert "1 of 3 rows cannot be used" in done.err
    assert noduleclip(*arguments, "--out-dir", tmp_path / "index", "--max-rejects", 0.4).code == 0
    (reject,) = pl.read_csv(tmp_path / "index" / schema.REJECTS_CSV).to_dicts()
    assert (reject[schema.CSV_ROW], reject[schema.REJECT_CODE]) == (row, "missing-file")


def test_limit_counts_nodules(spheres: Spheres, checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    embed(spheres.table, checkpoint, exported, tmp_path / "index", "--limit", 2)
    index = open_index(tmp_path / "index")
    assert index.manifest.rows == 2
    assert index.read_rows([0])[0, schema.SLICES] == spheres.slices["larger"], "no nodule is cut off"


def test_training_takes_a_nodule_once(spheres: Spheres, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "patients.txt").write_text("P\n")
    table = TableRequest(spheres.table, cache_dir=exported, workers="1")
    crop = CropConfig(size_px=32)
    (samples,) = load_training_samples(table, [tmp_path / "patients.txt"], crop, None).sets
    found = sorted(samples.diameters_mm.tolist())
    assert np.array(found) == pytest.approx(np.array([[s + 0.4, s - 0.4] for s in sorted(SIZES_MM.values())]), abs=0.15)
    assert samples.outlined.all()


def test_unique_nodule_is_a_note(nodule_index: Path, noduleclip: Command) -> None:
    options = ("query", "--emb-dir", nodule_index, "--query", "> 6 mm", "--format", "csv")
    told = noduleclip(*options, "--unique", "nodule")
    assert f"note: a row of {nodule_index} is a nodule: --unique nodule has no effect" in told.err
    assert told.out == noduleclip(*options).out


def test_an_index_counts_nodules(nodule_index: Path) -> None:
    opened = nc.open_index(nodule_index)
    assert repr(opened) == f"<noduleclip.Index of {len(opened)} nodules in {nodule_index}>"
    with_few = opened.query("> 6 mm", k=len(opened) + 1)
    assert with_few.notes == (f"fewer than {len(opened) + 1} hits: there are {len(opened)} nodules to rank",)


def test_evaluate_needs_no_table_of_readers(nodule_index: Path, collection: Collection, noduleclip: Command) -> None:
    options = ("evaluate", "--emb-dir", nodule_index, "--draws", 5, "--resamples", 20, "--format", "json")
    alone = noduleclip(*options)
    assert alone.code == 0, alone.err
    assert alone.out == noduleclip(*options, "--readers", collection.roi_csv).out
    assert json.loads(alone.out)["readers"]["ap"]["second_reader"]["mean"] > 0


def test_alpha_auto_takes_the_readers_of_nodules(nodule_index: Path, noduleclip: Command) -> None:
    done = noduleclip(
        "fuse", "--emb-dir", nodule_index, "--query", "> 6 mm", "--alpha", "auto", "--val-emb-dir", nodule_index
    )
    assert done.code == 0, done.err
    assert "validation nodules; the diameter alone" in done.err


def test_split_deals_by_readers_and_prints_nodules(collection: Collection, noduleclip: Command, tmp_path: Path) -> None:
    """A table of one slice per nodule is dealt as by its rows."""
    done = noduleclip("split", "--roi-csv", collection.roi_csv, "--out", tmp_path, "--format", "csv")
    frame = read_roi_table(collection.roi_csv).frame
    lists = split_patients(count_bins(frame), (0.7, 0.1, 0.2), 0)
    assert [(tmp_path / name).read_text().split() for name in schema.SPLIT_FILES] == lists
    assert pl.read_csv(done.out.encode())["nodules"].sum() == frame[schema.NODULE_ID].n_unique()


def test_a_table_without_nodules_has_a_row_each(
    spheres: Spheres, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    frame = pl.read_csv(spheres.table, infer_schema=False).drop(schema.NODULE_ID)
    frame.write_csv(tmp_path / "rois.csv")
    done = embed(tmp_path / "rois.csv", checkpoint, exported, tmp_path / "index")
    manifest = open_index(tmp_path / "index").manifest
    assert (manifest.unit, manifest.rows) == ("outline", frame.height)
    assert "one row per nodule" not in done.err
    embed(tmp_path / "rois.csv", checkpoint, exported, tmp_path / "forced", "--unit", "nodule")
    forced = open_index(tmp_path / "forced")
    assert (forced.manifest.unit, forced.manifest.rows) == ("nodule", frame.height)
    assert set(forced.read_columns([schema.READERS])[schema.READERS]) == {1}


def test_reserved_columns_cannot_be_kept(
    spheres: Spheres, checkpoint: Path, tmp_path: Path, noduleclip: Command
) -> None:
    frame = pl.read_csv(spheres.table, infer_schema=False)
    for name in (schema.READERS, schema.SLICES, "reader_margin"):
        frame.with_columns(pl.lit("1").alias(name)).write_csv(tmp_path / "r.csv")
        done = noduleclip(
            "embed", "--roi-csv", tmp_path / "r.csv", "--model", checkpoint, "--out-dir", tmp_path / "i", "--keep", name
        )
        assert done.code == 3
        assert f"column {name!r} cannot be kept under this name" in done.err


def test_raw_lidc_series_have_two_nodules_and_two_hits(shared_data: Path, noduleclip: Command, tmp_path: Path) -> None:
    prepared, index = tmp_path / "lidc", tmp_path / "index"
    made = noduleclip("prepare", "lidc", "--data-root", shared_data / "lidc_slices", "--out", prepared)
    assert made.code == 0, made.err
    assert "of the 83 rows embed makes 2, one per nodule," in made.err
    done = noduleclip("embed", "--roi-csv", prepared / schema.ROI_CSV, "--out-dir", index)
    assert done.code == 0, done.err
    hits = ask(index, "> 8 mm")
    assert (hits.height, hits[schema.PATIENT_ID].n_unique()) == (2, 2)
    assert hits[schema.SATISFIES].all()
    assert not ask(index, "<= 6 mm")[schema.SATISFIES].any()
    same = [schema.PATIENT_ID, schema.READERS, schema.SLICES, schema.DICOM_PATH, *schema.RATING_COLUMNS]
    nodules = pl.read_csv(prepared / schema.NODULES_CSV)
    hits, nodules = hits.sort(schema.PATIENT_ID), nodules.sort(schema.PATIENT_ID)
    assert hits.select(same).equals(nodules.select(same))
    assert hits[schema.DIAMETER_MM].to_list() == pytest.approx(nodules[schema.DIAMETER_MM].to_list(), abs=6e-4)


@pytest.mark.parametrize(("unit", "name"), [("nodule", "nodules"), ("outline", "rows")])
def test_a_limit_names_what_it_counts(
    noduleclip: Command, spheres: Spheres, tmp_path: Path, unit: str, name: str
) -> None:
    total = 3 if unit == "nodule" else 2 * sum(spheres.slices.values())
    done = noduleclip("check", spheres.table, "--unit", unit, "--limit", 2)
    assert done.code == 0, done.err
    assert f"the first 2 of {total} {name} are used (--limit)" in done.err.splitlines()
    assert "are used (--limit)" not in noduleclip("check", spheres.table, "--unit", unit, "--limit", total).err


def test_points_are_not_called_outlines(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    nodules = pl.read_csv(collection.roi_csv).unique(schema.NODULE_ID, keep="first", maintain_order=True).head(4)
    columns = (schema.DICOM_PATH, schema.PATIENT_ID, schema.NODULE_ID)
    points = nodules.select(*columns, x=schema.CENTROID_X, y=schema.CENTROID_Y)
    points.write_csv(tmp_path / "points.csv")
    done = noduleclip("check", tmp_path / "points.csv", "--dicom-root", collection.roi_csv.parent)
    assert done.code == 0, done.err
    assert "outline" not in done.err + done.out
