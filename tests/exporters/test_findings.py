"""Findings: the place in the patient of a pixel of a slice, diameters measured or estimated, series in order."""

import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.spatial import ImageToReferenceTransformer

from exporters.places import ORIENTATIONS, POSITION_MM, SPACING_YX_MM, find_on, place, write_slice
from noduleclip import schema
from noduleclip.errors import SliceError
from noduleclip.exporters.finding_rows import make_finding
from noduleclip.exporters.findings import group_by_series
from noduleclip.io.dicom.placement import read_placement


@pytest.mark.parametrize("kind", ORIENTATIONS)
def test_the_centre_lies_where_highdicom_puts_it(tmp_path: Path, kind: str) -> None:
    finding = find_on(write_slice(tmp_path / "1.dcm", orientation=ORIENTATIONS[kind]))
    oracle = ImageToReferenceTransformer(POSITION_MM, ORIENTATIONS[kind], SPACING_YX_MM)
    expected = oracle(np.array([finding.center_px]) + 0.5)[0]  # its origin is the corner of the first pixel
    assert np.allclose(finding.center_mm, expected, atol=1e-4)
    assert finding.center_px == (31.25, 17.5)


def test_a_row_without_centroid_is_placed_in_the_middle_of_its_box(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    for missing in (None, math.nan):
        assert find_on(path, {schema.CENTROID_X: missing}).center_px == (32.0, 18.0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, "the table has no place on it"),
        (math.inf, "the table has no place on it"),
        (-1.0, r"the place \(-1\.0, 17\.5\) lies outside the slice"),
        (80.0, r"the place \(80\.0, 17\.5\) lies outside the slice"),
    ],
)
def test_a_place_beside_the_slice_is_refused(tmp_path: Path, x: float | None, message: str) -> None:
    path = write_slice(tmp_path / "1.dcm")
    row = {**place(path), schema.CENTROID_X: x, schema.CENTER_X: x}
    with pytest.raises(SliceError, match=message):
        make_finding(row, read_placement(path), path, rank=1)


def test_a_measured_diameter_precedes_an_estimate_and_an_estimate_says_so(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    estimate = {schema.ESTIMATED_DIAMETER: 7.46, schema.ESTIMATED_LOW: 6.1, schema.ESTIMATED_HIGH: 9.2}
    measured = find_on(path, {**estimate, schema.DIAMETER_MM: 8.24}, rank=3)
    assert (measured.diameter_mm, measured.is_estimated, measured.name) == (8.24, False, "3: 8.2 mm")
    estimated = find_on(path, {**estimate, schema.DIAMETER_MM: None}, rank=4)
    assert (estimated.diameter_mm, estimated.is_estimated, estimated.name) == (7.46, True, "4: ~7.5 mm")
    assert (estimated.low_mm, estimated.high_mm) == (6.1, 9.2)
    unknown = find_on(path, rank=5)
    assert (unknown.diameter_mm, unknown.is_estimated, unknown.name) == (None, False, "5")


def test_ratings_scores_and_readers_are_those_of_the_row(tmp_path: Path) -> None:
    row = {
        schema.MALIGNANCY: 3.5, schema.TEXTURE: None, schema.ESTIMATED_PREFIX + schema.MALIGNANCY: 4.0,
        schema.SIMILARITY: 0.25, schema.RULE: None, schema.READERS: 2, schema.READER_DIAMETERS: [6.0, None],
        schema.READER_PREFIX + schema.MALIGNANCY: [3.0, 4.0], schema.RANK: 7, schema.QUERY: "> 6 mm",
    }  # fmt: skip
    finding = find_on(write_slice(tmp_path / "1.dcm"), row, rank=None)
    assert (finding.rank, finding.query) == (7, "> 6 mm")
    assert (finding.ratings, finding.estimated_ratings) == ({schema.MALIGNANCY: 3.5}, {schema.MALIGNANCY: 4.0})
    assert finding.scores == {schema.SIMILARITY: 0.25}
    assert (finding.readers, finding.reader_diameters_mm) == (2, (6.0, None))
    assert finding.reader_ratings == {schema.MALIGNANCY: (3.0, 4.0)}


def test_columns_of_the_user_are_kept_and_probabilities_are_not(tmp_path: Path) -> None:
    row = {"candidate": "c1", "empty": None, "count": 3, f"{schema.PROBABILITY_PREFIX}solid": 0.5}
    finding = find_on(write_slice(tmp_path / "1.dcm"), row)
    assert finding.extra == {"candidate": "c1", "count": "3"}


def test_estimates_have_no_digits_of_their_32_bits(tmp_path: Path) -> None:
    row = {schema.ESTIMATED_DIAMETER: float(np.float32(12.26))}
    assert find_on(write_slice(tmp_path / "1.dcm"), row).estimated_mm == 12.26


def test_series_come_in_the_order_of_their_best_rank(tmp_path: Path) -> None:
    a, b = (write_slice(tmp_path / key / "1.dcm", key=key) for key in "ab")
    groups = group_by_series([find_on(a, rank=3), find_on(b, rank=2), find_on(a, rank=4), find_on(b, rank=5)])
    assert [[one.rank for one in group] for group in groups] == [[2, 5], [3, 4]]
    assert groups[0][0].series_uid == read_placement(b).series_uid


def test_slices_without_a_series_go_by_their_folder(tmp_path: Path) -> None:
    findings = []
    for rank, name in enumerate(("a/1", "b/1", "a/2"), 1):
        path = write_slice(tmp_path / f"{name}.dcm")
        header = pydicom.dcmread(path)
        del header.SeriesInstanceUID
        header.save_as(path)
        findings.append(find_on(path, rank=rank))
    assert [[one.rank for one in group] for group in group_by_series(findings)] == [[1, 3], [2]]
