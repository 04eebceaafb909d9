"""Phantoms: what is written, that it is the same every time, and that sizes are what they claim to be."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from noduleclip import schema
from noduleclip.errors import ConfigError, UsageError
from noduleclip.phantom.patients import (
    PhantomConfig,
    PhantomSummary,
    make_phantoms,
)
from noduleclip.phantom.readers import trace_outside
from noduleclip.phantom.tissue import draw_phantom_slice, make_noise

CORE_COLUMNS = [
    schema.DICOM_PATH,
    schema.SPACING_ROW,
    schema.SPACING_COL,
    schema.DIAMETER_MM,
    schema.CENTROID_X,
    schema.CENTROID_Y,
    *schema.BOX_COLUMNS,
    schema.POINTS_JSON,
    schema.SERIES_UID,
    schema.SOP_UID,
]
CONFIG = PhantomConfig(patients=48, seed=3, matrix_px=128)
SMALL = PhantomConfig(patients=3, seed=1, matrix_px=96, readers=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhantomSummary:
    return make_phantoms(tmp_path_factory.mktemp("phantoms") / "set", CONFIG)


@pytest.fixture(scope="module")
def table(made: PhantomSummary) -> pl.DataFrame:
    return pl.read_csv(made.roi_csv)


def _rows(table: pl.DataFrame) -> Iterator[tuple[dict[str, str], dict[str, float]]]:
    """Return each row twice: as texts and as numbers."""
    for row in table.iter_rows(named=True):
        yield row, row


def _hu(dataset: pydicom.Dataset) -> NDArray[np.float64]:
    return np.asarray(dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept))


def _half_level_width_px(profile_hu: NDArray[np.float32]) -> float:
    """Measure how far apart a profile crosses the level half-way between lung and nodule."""
    share = (profile_hu.astype(float) + 850.0) / 890.0
    left, right = np.flatnonzero(share > 0.5)[[0, -1]]
    before = (share[left] - 0.5) / (share[left] - share[left - 1])
    after = (share[right] - 0.5) / (share[right] - share[right + 1])
    return float(right - left + before + after)


def _hash_folder(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_config_gives_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    progress: list[int] = []
    make_phantoms(tmp_path / "a", SMALL)
    make_phantoms(tmp_path / "b", SMALL, workers=2, on_patient=progress.append)
    once = _hash_folder(tmp_path / "a")
    assert once == _hash_folder(tmp_path / "b")
    assert progress == [1, 2, 3]
    make_phantoms(tmp_path / "c", PhantomConfig(patients=3, seed=2, matrix_px=96, readers=2))
    assert not set(once.values()) & set(_hash_folder(tmp_path / "c").values())


def test_more_patients_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    make_phantoms(tmp_path / "a", PhantomConfig(patients=1, seed=5, matrix_px=96))
    make_phantoms(tmp_path / "b", PhantomConfig(patients=2, seed=5, matrix_px=96))
    first = "dicom/PHANTOM-0001"
    assert _hash_folder(tmp_path / "a" / first) == _hash_folder(tmp_path / "b" / first)


def test_table_has_the_documented_columns(table: pl.DataFrame, made: PhantomSummary) -> None:
    assert table.columns[: len(CORE_COLUMNS)] == CORE_COLUMNS
    assert set(table.columns[len(CORE_COLUMNS) :]) == {
        schema.PATIENT_ID,
        schema.NODULE_ID,
        schema.READER,
        schema.TEXTURE,
        schema.SUBTLETY,
        schema.Z_MM,
        schema.SLICE_THICKNESS,
        schema.MANUFACTURER,
    }
    for name in table.columns:
        expected: type[pl.DataType] = pl.Float64
        if name in schema.TEXT_COLUMNS:
            expected = pl.String
        elif name in (*schema.BOX_COLUMNS, *schema.RATING_COLUMNS):
            expected = pl.Int64
        assert table.schema[name] == expected, name
    assert table.null_count().row(0) == (0,) * table.width
    assert made.rois == table.height
    assert made.nodules == table[schema.NODULE_ID].n_unique()
    assert made.patients == table[schema.PATIENT_ID].n_unique() == CONFIG.patients
    assert made.roi_csv.name == schema.ROI_CSV
    assert table[schema.DICOM_PATH].str.contains(r"^dicom/PHANTOM-\d{4}/\d{5}\.dcm$").all()
    assert table.select(schema.NODULE_ID, schema.READER).is_unique().all()
    assert table[schema.TEXTURE].is_between(1, 5).all()
    assert table[schema.SUBTLETY].is_between(1, 5).all()


def test_diameter_box_and_centroid_follow_from_the_polygon(table: pl.DataFrame, made: PhantomSummary) -> None:
    for text, number in _rows(table):
        header = pydicom.dcmread(made.roi_csv.parent / text[schema.DICOM_PATH], stop_before_pixels=True)
        row_mm, column_mm = (float(value) for value in header.PixelSpacing)
        points: list[list[int]] = json.loads(text[schema.POINTS_JSON])
        diameter_mm = max(
            math.hypot((x - u) * column_mm, (y - v) * row_mm) for (x, y), (u, v) in itertools.combinations(points, 2)
        )
        assert number[schema.DIAMETER_MM] == pytest.approx(diameter_mm, abs=6e-4)
        assert (row_mm, column_mm) == (number[schema.SPACING_ROW], number[schema.SPACING_COL])
        columns, rows = zip(*points, strict=True)
        box = [number[name] for name in schema.BOX_COLUMNS]
        assert box == [min(columns), min(rows), max(columns), max(rows)]
        assert min(box) >= 0
        assert max(box) < CONFIG.matrix_px
        assert min(columns) < number[schema.CENTROID_X] < max(columns)
        assert min(rows) < number[schema.CENTROID_Y] < max(rows)
        steps = np.abs(np.diff([*points, points[0]], axis=0)).max(axis=1)
        assert steps.tolist() == [1] * len(points)


def test_some_patients_have_unequal_spacing(table: pl.DataFrame) -> None:
    ratio = table[schema.SPACING_ROW] / table[schema.SPACING_COL]
    unequal = table.filter(ratio != 1)[schema.PATIENT_ID].n_unique()
    assert 1 <= unequal <= CONFIG.patients // 2
    assert ratio.is_between(0.9, 1.12).all()


def test_series_are_ct_images_of_the_rows_patients(table: pl.DataFrame, made: PhantomSummary) -> None:
    folder = made.roi_csv.parent
    files = sorted(folder.glob("dicom/*/*.dcm"))
    assert len(files) == made.slices
    by_path = {path.relative_to(folder).as_posix(): pydicom.dcmread(path) for path in files}
    assert len({dataset.SOPInstanceUID for dataset in by_path.values()}) == len(files)
    assert len({dataset.SeriesInstanceUID for dataset in by_path.values()}) == CONFIG.patients
    assert {dataset.PixelRepresentation for dataset in by_path.values()} == {0, 1}
    for path, dataset in by_path.items():
        assert path.split("/")[1] == dataset.PatientID
        assert dataset.PatientName == ""
        assert dataset.SOPClassUID == CTImageStorage
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert dataset.pixel_array.shape == (CONFIG.matrix_px, CONFIG.matrix_px)
        assert -1000 < np.median(_hu(dataset)) < 100
    for text, number in _rows(table):
        dataset = by_path[text[schema.DICOM_PATH]]
        assert dataset.PatientID == text[schema.PATIENT_ID]
        assert dataset.SOPInstanceUID == text[schema.SOP_UID]
        assert dataset.SeriesInstanceUID == text[schema.SERIES_UID]
        assert dataset.Manufacturer == text[schema.MANUFACTURER]
        assert float(dataset.ImagePositionPatient[2]) == number[schema.Z_MM]
        assert float(dataset.SliceThickness) == number[schema.SLICE_THICKNESS]


def test_slices_of_a_series_are_one_thickness_apart(made: PhantomSummary) -> None:
    for series in (made.roi_csv.parent / "dicom").iterdir():
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(series.iterdir())]
        assert 4 <= len(headers) <= 8
        assert [header.InstanceNumber for header in headers] == list(range(1, len(headers) + 1))
        gaps = np.diff([float(header.ImagePositionPatient[2]) for header in headers])
        assert gaps == pytest.approx(float(headers[0].SliceThickness))


def test_rows_lie_on_the_nodules_largest_cross_section(table: pl.DataFrame, made: PhantomSummary) -> None:
    solid = table.filter(pl.col(schema.TEXTURE) == 5, pl.col(schema.DIAMETER_MM) > 6)
    at_least, compared = 0, 0
    for text, number in _rows(solid.unique(schema.NODULE_ID, maintain_order=True)):
        path = made.roi_csv.parent / text[schema.DICOM_PATH]
        x0, y0, x1, y1 = (int(number[name]) for name in schema.BOX_COLUMNS)
        areas = {}
        for k in (-1, 0, 1):
            neighbour = path.with_name(f"{int(path.stem) + k:05d}.dcm")
            if neighbour.exists():
                areas[k] = int((_hu(pydicom.dcmread(neighbour))[y0 : y1 + 1, x0 : x1 + 1] > -400).sum())
        compared += 1
        at_least += areas[0] >= 0.97 * max(areas.values())
    assert compared >= 20
    assert at_least >= 0.8 * compared


def test_sizes_and_readers_vary_as_in_lidc(table: pl.DataFrame) -> None:
    nodules = table.group_by(schema.NODULE_ID).agg(
        pl.col(schema.DIAMETER_MM),
        pl.col(schema.DIAMETER_MM).mean().alias("mean_mm"),
        pl.len().alias("readers"),
    )
    sizes_mm = nodules["mean_mm"].to_numpy()
    assert 6 < np.median(sizes_mm) < 11
    assert sizes_mm.min() > 2
    assert sizes_mm.max() < 45
    assert nodules["readers"].is_between(1, CONFIG.readers).all()
    assert (nodules["readers"] >= 2).to_numpy().mean() > 0.6
    small, large = nodules.filter(pl.col("mean_mm") < 6), nodules.filter(pl.col("mean_mm") > 12)
    assert small["readers"].to_numpy().mean() < large["readers"].to_numpy().mean()
    apart_mm = [
        abs(one - other)
        for sizes in nodules[schema.DIAMETER_MM].to_list()
        for one, other in itertools.combinations(sizes, 2)
    ]
    assert 0.8 < np.mean(apart_mm) < 2.2


def test_nodules_of_a_patient_do_not_overlap(table: pl.DataFrame) -> None:
    first_readings = table.unique(schema.NODULE_ID, maintain_order=True)
    for patient in first_readings.partition_by(schema.PATIENT_ID):
        boxes = patient.select(schema.BOX_COLUMNS).rows()
        centers = patient.select(schema.CENTROID_X, schema.CENTROID_Y).rows()
        for (box, center), (other_box, other_center) in itertools.combinations(zip(boxes, centers, strict=True), 2):
            for (x0, y0, x1, y1), (x, y) in ((box, other_center), (other_box, center)):
                assert not (x0 <= x <= x1 and y0 <= y <= y1)


def test_single_reader_marks_every_nodule_once(tmp_path: Path) -> None:
    made = make_phantoms(tmp_path / "set", PhantomConfig(patients=2, matrix_px=96, readers=1))
    assert made.rois == made.nodules >= 2


def test_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match=r"set: the folder is not empty"):
        make_phantoms(tmp_path / "set", SMALL)
    with pytest.raises(UsageError, match=r"mine\.txt: is a file, a folder is needed"):
        make_phantoms(tmp_path / "set" / "mine.txt", SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.txt"]


def test_fills_an_empty_folder_and_makes_missing_parents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    one = PhantomConfig(patients=1, matrix_px=96)
    assert make_phantoms(tmp_path / "empty", one).roi_csv.exists()
    assert make_phantoms(tmp_path / "deep" / "er", one).roi_csv.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty"]


@pytest.mark.parametrize(
    ("failure", "workers"),
    [(RuntimeError("disk full"), 1), (KeyboardInterrupt("stopped"), 1), (KeyboardInterrupt("stopped"), 2)],
)
def test_a_failure_midway_leaves_nothing(tmp_path: Path, failure: BaseException, workers: int) -> None:
    def fail_at_second(done: int) -> None:
        if done == 2:
            raise failure

    with pytest.raises(type(failure), match=str(failure)):
        make_phantoms(tmp_path / "set", SMALL, on_patient=fail_at_second, workers=workers)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patients": 0}, r"--patients must be in \[1, 9999\], got 0"),
        ({"seed": -1}, r"--seed must be in"),
        ({"matrix_px": 64}, r"--matrix-px must be in \[96, 512\], got 64"),
        ({"readers": 0}, r"--readers must be in"),
    ],
)
def test_config_refuses_values_out_of_range(setting: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PhantomConfig(**setting)


def test_workers_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers must be at least 1, got 0"):
        make_phantoms(tmp_path / "set", SMALL, workers=0)


@pytest.mark.parametrize("diameter_mm", [6.0, 12.0, 30.0])
@pytest.mark.parametrize("spacing_yx_mm", [(0.6, 0.6), (0.5, 0.9), (0.95, 0.7)])
def test_slice_has_a_nodule_of_the_asked_diameter(diameter_mm: float, spacing_yx_mm: tuple[float, float]) -> None:
    hu = draw_phantom_slice(diameter_mm, spacing_yx_mm=spacing_yx_mm, center_xy_px=(60.0, 70.0))
    assert hu.dtype == np.float32
    assert hu.shape == (128, 128)
    along_x_px, along_y_px = _half_level_width_px(hu[70]), _half_level_width_px(hu[:, 60])
    assert along_x_px == pytest.approx(diameter_mm / spacing_yx_mm[1], abs=0.3)
    assert along_y_px == pytest.approx(diameter_mm / spacing_yx_mm[0], abs=0.3)
    area_mm2 = float((hu + 850.0).sum() / 890.0) * spacing_yx_mm[0] * spacing_yx_mm[1]
    assert 2 * math.sqrt(area_mm2 / math.pi) == pytest.approx(diameter_mm, abs=0.15)
    rows, columns = np.nonzero(hu > -405)
    assert (columns.mean(), rows.mean()) == pytest.approx((60, 70), abs=0.05)


def test_noise_has_unit_strength() -> None:
    noise = make_noise(np.random.default_rng(0), (4, 97, 96), 0.8)
    assert float(noise.std()) == pytest.approx(1, rel=0.05)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=7),
    st.integers(0, 6),
)
def test_polygon_runs_along_the_first_pixels_outside(reaches: list[tuple[int, int]], row: int) -> None:
    row = min(row, len(reaches) - 1)
    region = np.zeros((len(reaches), 9), bool)
    for y, (left, right) in enumerate(reaches):
        region[y, 4 - left : 5 + right] = True
    inside = {(x, y) for y, x in np.argwhere(region).tolist()}
    outside_touching = {(x + dx, y + dy) for x, y in inside for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0))} - inside
    grown = inside | outside_touching
    border = {(x, y) for x, y in grown if not {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} <= grown}
    points = [(x, y) for x, y in trace_outside(region, row, 4).tolist()]
    assert set(points) == border
    assert border <= outside_touching
    for (x, y), (u, v) in itertools.pairwise([*points, points[0]]):
        assert max(abs(x - u), abs(y - v)) == 1
