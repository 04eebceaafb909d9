"""The table of nodules, against what a loop over the rows gives and on small cases."""

import json
from pathlib import Path
from statistics import mean

import polars as pl
import pytest

from noduleclip import schema
from noduleclip.importers.nodule_table import NODULE_COLUMNS, summarise_nodules
from noduleclip.io.roi_table import read_roi_table

Cell = str | float | int | None


def make_row(side_px: int, **cells: Cell) -> dict[str, Cell]:
    """One reader's square on one slice."""
    corners = [[0, 0], [side_px, 0], [side_px, side_px], [0, side_px]]
    box = dict(zip(schema.BOX_COLUMNS, (0, 0, side_px, side_px), strict=True))
    return {
        schema.PATIENT_ID: "p",
        schema.NODULE_ID: "1",
        schema.SERIES_UID: "1.2",
        schema.DICOM_PATH: "a.dcm",
        schema.DIAMETER_MM: float(side_px),
        schema.CENTROID_X: side_px / 2,
        schema.CENTROID_Y: side_px / 2,
        schema.POINTS_JSON: json.dumps(corners),
        **box,
        **cells,
    }


def summarise(*rows: dict[str, Cell]) -> list[dict[str, Cell]]:
    return summarise_nodules(pl.DataFrame(rows, infer_schema_length=None)).to_dicts()


def test_the_slice_is_that_of_the_largest_mean_diameter() -> None:
    (nodule,) = summarise(
        make_row(7, reader="1", sop_uid="1.2.1", z_mm=5.0),
        make_row(6, reader="1", dicom_path="b.dcm", sop_uid="1.2.2", z_mm=6.0),
        make_row(9, reader="2", dicom_path="b.dcm", sop_uid="1.2.2", z_mm=6.0),
        make_row(2, reader="2", dicom_path="c.dcm", sop_uid="1.2.3", z_mm=7.0),
    )
    assert (nodule[schema.DICOM_PATH], nodule[schema.SOP_UID], nodule[schema.Z_MM]) == ("b.dcm", "1.2.2", 6.0)
    assert nodule[schema.DIAMETER_MM] == 7.5
    assert nodule[schema.DIAMETER_SPREAD] == 3.0
    assert nodule[schema.CENTROID_X] == 3.75
    assert (nodule[schema.READERS], nodule[schema.SLICES]) == (2, 3)


def test_curves_of_one_reader_are_one_outline() -> None:
    (nodule,) = summarise(
        make_row(8, reader="1"),
        make_row(2, reader="1"),
        make_row(4, reader="2"),
    )
    assert (nodule[schema.DIAMETER_MM], nodule[schema.READERS]) == (6.0, 2)
    assert nodule[schema.CENTROID_X] == 3.0


def test_rows_without_a_reader_are_of_different_readers() -> None:
    (nodule,) = summarise(make_row(8), make_row(6), make_row(4, dicom_path="b.dcm"))
    assert (nodule[schema.READERS], nodule[schema.DIAMETER_MM], nodule[schema.DIAMETER_SPREAD]) == (2, 7.0, 2.0)


def test_a_reader_rates_once_however_many_slices_he_draws_on() -> None:
    (nodule,) = summarise(
        make_row(8, reader="1", malignancy=5),
        make_row(7, reader="1", malignancy=5, dicom_path="b.dcm"),
        make_row(6, reader="2", malignancy=2),
        make_row(6, reader="3", malignancy=None),
    )
    assert nodule[schema.MALIGNANCY] == 3.5
    assert nodule[schema.SUBTLETY] is None


def test_a_slice_without_any_diameter_has_none() -> None:
    (nodule,) = summarise(make_row(8, diameter_mm=None), make_row(4, diameter_mm=None, dicom_path="b.dcm"))
    assert (nodule[schema.DIAMETER_MM], nodule[schema.DICOM_PATH]) == (None, "a.dcm")
    (nodule,) = summarise(make_row(8, diameter_mm=None), make_row(4, dicom_path="b.dcm"))
    assert (nodule[schema.DIAMETER_MM], nodule[schema.DICOM_PATH]) == (4.0, "b.dcm")
    (nodule,) = summarise(make_row(8, diameter_mm=None, reader="1"), make_row(6, reader="2"))
    assert nodule[schema.DIAMETER_MM] == 6.0


def test_without_outlines_the_boxes_serve() -> None:
    rows = [make_row(3), make_row(9, dicom_path="b.dcm")]
    frame = pl.DataFrame(rows).drop(schema.POINTS_JSON)
    assert summarise_nodules(frame)[0, schema.DICOM_PATH] == "b.dcm"


def test_nodules_are_told_by_patient_and_stand_in_the_order_of_the_table() -> None:
    rows = [make_row(3, nodule_id="2"), make_row(3, nodule_id="1"), make_row(3, patient_id="a", nodule_id="2")]
    frame = summarise_nodules(pl.DataFrame(rows))
    assert frame.columns == list(NODULE_COLUMNS)
    assert frame.select(schema.PATIENT_ID, schema.NODULE_ID).rows() == [("p", "2"), ("p", "1"), ("a", "2")]
    assert summarise_nodules(pl.DataFrame(rows).clear()).is_empty()


def test_real_nodules_are_as_a_loop_over_their_rows_says(shared_data: Path) -> None:
    rows = read_roi_table(shared_data / "lidc_slices" / "rois.csv").frame
    for nodule in summarise_nodules(rows).iter_rows(named=True):
        own = rows.filter(pl.col(schema.NODULE_ID) == nodule[schema.NODULE_ID])
        by_slice: dict[str, list[dict[str, Cell]]] = {}
        for row in own.iter_rows(named=True):
            by_slice.setdefault(row[schema.DICOM_PATH], []).append(row)
        means = {path: mean(float(row[schema.DIAMETER_MM] or 0) for row in here) for path, here in by_slice.items()}
        largest = max(means, key=lambda path: means[path])
        assert nodule[schema.DICOM_PATH] == largest
        assert nodule[schema.SLICES] == len(by_slice)
        assert nodule[schema.DIAMETER_MM] == pytest.approx(means[largest], abs=6e-4)
        assert nodule[schema.READERS] == max(map(len, by_slice.values())), "the table names no readers"
