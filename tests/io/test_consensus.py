"""Rows of readers collapsed to rows of nodules."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SHARED_DATA
from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.consensus import MOST_OUTLINE_BYTES, collapse_nodules, describe_shared_ids, select_key_slices
from noduleclip.io.outlines import parse_slices
from noduleclip.io.roi_table import read_roi_table

Row = dict[str, Any]
TRIANGLE = [[0, 0], [4, 0], [0, 3]]
KINDS: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("patient_id", "nodule_id", "series_uid", "dicom_path", "reader", "points_json"), pl.String),
    **dict.fromkeys(("frame", "z_mm", "diameter_mm", *schema.BOX_COLUMNS), pl.Float64),
    **dict.fromkeys(("center_x_px", "center_y_px", "malignancy", "calcification", "volume_mm3"), pl.Float64),
}


def make_row(**values: Any) -> Row:
    """Return a row of a nodule that is a box of 4 by 4 pixels around (12, 22)."""
    return {
        "patient_id": "A", "nodule_id": "1", "series_uid": None, "dicom_path": "s", "reader": None, "frame": None,
        "z_mm": None, "diameter_mm": 5.0, "bbox_xmin": 10, "bbox_ymin": 20, "bbox_xmax": 14, "bbox_ymax": 24,
        "center_x_px": 12.0, "center_y_px": 22.0, "malignancy": None, "calcification": None, "points_json": None,
        "volume_mm3": None,
    } | values  # fmt: skip


def make_frame(*rows: Row) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=KINDS, orient="row").with_row_index(schema.CSV_ROW, offset=1)


def collapse_one(*rows: Row) -> Row:
    (nodule,) = collapse_nodules(make_frame(*rows)).to_dicts()
    return nodule


def test_a_nodule_has_the_mean_diameter_of_its_largest_slice() -> None:
    sizes = {"pole": [3.0, 2.5], "middle": [15.0, 13.0, 14.0], "other": [16.0, 11.0]}
    rows = [
        make_row(dicom_path=path, reader=f"{at}", diameter_mm=size)
        for path, of_slice in sizes.items()
        for at, size in enumerate(of_slice)
    ]
    nodule = collapse_one(*rows)
    assert (nodule["dicom_path"], nodule["diameter_mm"]) == ("middle", 14.0)
    assert nodule["reader_diameters_mm"] == [15.0, 13.0, 14.0]
    assert (nodule["readers"], nodule["slices"], nodule["csv_row"]) == (3, 3, 3)
    assert "reader" not in nodule


def test_of_equal_slices_the_first_is_the_key() -> None:
    for sizes in ([5.1, 5.2, 5.3], [5.3, 5.2, 5.1]):
        there = [make_row(dicom_path="b", reader=str(at), diameter_mm=size) for at, size in enumerate(sizes)]
        here = [make_row(dicom_path="a", reader=str(at), diameter_mm=size) for at, size in enumerate((5.2, 5.1, 5.3))]
        assert collapse_one(*there, *here)["dicom_path"] == "b"


def test_the_centre_is_the_mean_and_the_box_holds_all() -> None:
    left = make_row(reader="1", bbox_xmin=8, bbox_xmax=12, center_x_px=10.0)
    low = make_row(reader="2", bbox_ymin=24, bbox_ymax=30, center_y_px=27.0)
    nodule = collapse_one(left, low)
    assert (nodule["center_x_px"], nodule["center_y_px"]) == (11.0, 24.5)
    assert [nodule[name] for name in schema.BOX_COLUMNS] == [8, 20, 14, 30]


def test_curves_of_one_reader_count_once() -> None:
    part = make_row(reader="1", diameter_mm=3.0, center_x_px=30.0, bbox_xmax=40, malignancy=2)
    whole = make_row(reader="1", diameter_mm=9.0)
    other = make_row(reader="2", diameter_mm=5.0, malignancy=4)
    nodule = collapse_one(part, whole, other)
    assert nodule["reader_diameters_mm"] == [9.0, 5.0]
    assert nodule["reader_malignancy"] == [2.0, 4.0]
    assert (nodule["diameter_mm"], nodule["readers"], nodule["center_x_px"]) == (7.0, 2, 12.0)
    assert nodule["bbox_xmax"] == 40


def test_ratings_are_means_of_all_readers_and_kinds_the_most_frequent() -> None:
    rows = [
        make_row(dicom_path="key", reader="1", diameter_mm=9.0, malignancy=5, calcification=6),
        make_row(dicom_path="key", reader="2", diameter_mm=9.0, malignancy=None, calcification=3),
        make_row(dicom_path="end", reader="3", diameter_mm=4.0, malignancy=2, calcification=3),
        make_row(dicom_path="end", reader="1", diameter_mm=4.0, malignancy=5, calcification=6),
    ]
    nodule = collapse_one(*rows)
    assert nodule["malignancy"] == 3.5
    assert nodule["calcification"] == 3.0, "of three readers, not of four rows"
    assert nodule["reader_malignancy"] == [5.0, None]
    assert nodule["readers"] == 3
    assert nodule["reader_diameters_mm"] == [9.0, 9.0]


def test_of_two_equally_frequent_kinds_the_larger_counts() -> None:
    assert collapse_one(make_row(calcification=3), make_row(calcification=6))["calcification"] == 6.0


def test_rows_without_a_reader_are_of_different_ones() -> None:
    nodule = collapse_one(*(make_row(diameter_mm=size) for size in (5.0, 6.0, 7.0)))
    assert (nodule["readers"], nodule["reader_diameters_mm"]) == (3, [5.0, 6.0, 7.0])


def test_without_diameters_the_largest_box_is_the_key_and_else_the_middle_slice() -> None:
    def row(path: str, z_mm: float, width: float) -> Row:
        return make_row(dicom_path=path, z_mm=z_mm, diameter_mm=None, bbox_xmax=10 + width)

    nodule = collapse_one(row("a", 1, 4), row("b", 2, 9), row("c", 3, 5))
    assert (nodule["dicom_path"], nodule["diameter_mm"], nodule["reader_diameters_mm"]) == ("b", None, [None])
    assert collapse_one(row("a", 3, 4), row("b", 1, 4), row("c", 2, 4))["dicom_path"] == "c", "the middle by z"


@pytest.mark.parametrize("kind", ["3d", "volume"])
def test_diameters_of_the_whole_nodule_do_not_choose_the_slice(kind: str) -> None:
    rows = [make_row(dicom_path=f"s{z}", z_mm=z, bbox_xmax=14 + (z == 2), diameter_mm=20.0 + z) for z in (1, 2, 3)]
    kinds = pl.lit(kind).alias(schema.DIAMETER_KIND)
    assert collapse_nodules(make_frame(*rows).with_columns(kinds))[0, "dicom_path"] == "s2"


def test_frames_are_told_apart_and_series_are_named() -> None:
    frames = collapse_one(*(make_row(frame=number, diameter_mm=5.0 + (number or 0)) for number in (None, 1.0, 2.0)))
    assert (frames["slices"], frames["frame"]) == (2, 2.0)
    shared = make_frame(make_row(series_uid="x"), make_row(series_uid="y"))
    assert collapse_nodules(shared).height == 1
    assert describe_shared_ids(shared) == (
        "1 nodule(s) have rows in several series and count as one each; first: A nodule 1"
    )
    assert describe_shared_ids(shared.head(1)) is describe_shared_ids(shared.drop("series_uid")) is None


def test_slices_carry_the_outlines_of_all_readers() -> None:
    text = json.dumps(TRIANGLE)
    rows = [
        make_row(dicom_path='b"\\\n', z_mm=2.5, reader="1", points_json=text),
        make_row(dicom_path='b"\\\n', z_mm=2.5, reader="2", points_json=text.replace(" ", "\n")),
        make_row(dicom_path="a", z_mm=1.0, frame=3.0, points_json="[[0,0],[4,0],[0,3]],[]"),
        make_row(dicom_path="a", z_mm=1.0, frame=3.0, points_json='[[01,0],[4,0],[0,3]]'),
        make_row(dicom_path="c", z_mm=math.inf, points_json='"]}'),
    ]  # fmt: skip
    first, second, third = parse_slices(collapse_one(*rows)["points_json"])
    assert (first.dicom_path, first.frame, first.z_mm, first.outlines) == ("a", 3, 1.0, ())
    assert [one.tolist() for one in second.outlines] == [TRIANGLE, TRIANGLE]
    assert second.dicom_path == 'b"\\\n'
    assert (third.dicom_path, third.z_mm) == ("c", None)


def test_of_a_nodule_of_long_outlines_those_of_the_key_slice_are_kept() -> None:
    text = json.dumps([[number, number % 7] for number in range(9000)])
    rows = [make_row(dicom_path=f"s{z}", z_mm=z, diameter_mm=5.0 + (z == 2), points_json=text) for z in range(4)]
    nodule = collapse_one(*rows)
    assert len(nodule["points_json"]) < MOST_OUTLINE_BYTES
    assert [len(one.outlines) for one in parse_slices(nodule["points_json"])] == [0, 0, 1, 0]


def test_a_table_without_the_optional_columns_collapses() -> None:
    frame = make_frame(make_row(), make_row(diameter_mm=7.0))
    needed = frame.select(schema.CSV_ROW, "patient_id", "nodule_id", "dicom_path", "diameter_mm", *schema.BOX_COLUMNS)
    assert collapse_nodules(needed)["reader_diameters_mm"].to_list() == [[5.0, 7.0]]
    alone = collapse_nodules(needed.drop("nodule_id"))
    assert alone.height == 2
    assert alone["readers"].to_list() == [1, 1]
    assert collapse_nodules(needed.head(0)).height == 0


def test_more_readers_than_an_index_holds_are_refused() -> None:
    frame = pl.concat([make_frame(make_row())] * (schema.MOST_READERS + 1))
    with pytest.raises(InputError, match=r"row 1: nodule '1' of patient 'A' has 1,025 readers on one slice, allowed"):
        collapse_nodules(frame)


ROWS = st.lists(
    st.builds(
        make_row,
        patient_id=st.sampled_from("AB"),
        nodule_id=st.none() | st.sampled_from("12"),
        series_uid=st.none() | st.just("x"),
        dicom_path=st.sampled_from("st"),
        frame=st.none() | st.sampled_from([1.0, 2.0]),
        z_mm=st.sampled_from([1.0, 2.0, 3.0]),
        reader=st.none() | st.sampled_from("pq"),
        diameter_mm=st.none() | st.sampled_from([3.0, 5.0, 8.0, 8.5]),
        bbox_xmax=st.sampled_from([14.0, 15.0, 20.0]),
        center_x_px=st.sampled_from([12.0, 12.5, 15.0]),
        malignancy=st.none() | st.sampled_from([1.0, 2.0, 5.0]),
        calcification=st.none() | st.sampled_from([3.0, 6.0]),
        volume_mm3=st.none() | st.sampled_from([100.0, 250.5]),
        points_json=st.none() | st.just(json.dumps(TRIANGLE)),
    ),
    min_size=1,
    max_size=14,
)


def mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 6) if known else None


def first_known(values: list[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def collapse_by_loop(rows: list[Row]) -> list[Row]:
    """Collapse with plain loops over the rows of each nodule."""
    nodules: dict[Any, list[tuple[int, Row]]] = {}
    for number, row in enumerate(rows):
        named = (row["patient_id"], row["nodule_id"])
        nodules.setdefault(number if row["nodule_id"] is None else named, []).append((number, row))
    return [collapse_nodule_by_loop(of_nodule) for of_nodule in nodules.values()]


def collapse_nodule_by_loop(rows: list[tuple[int, Row]]) -> Row:
    slices: dict[Any, list[tuple[int, Row]]] = {}
    for number, row in rows:
        slices.setdefault((row["dicom_path"], row["frame"] or 1), []).append((number, row))
    all_readers: dict[Any, list[Row]] = {}
    merged: dict[Any, dict[Any, Row]] = {}
    for place, here in slices.items():
        readers: dict[Any, list[Row]] = {}
        nameless = 0
        for _, row in here:
            nameless += row["reader"] is None
            readers.setdefault(row["reader"] or nameless, []).append(row)
        for reader, curves in readers.items():
            largest = max(curves, key=lambda curve: curve["diameter_mm"] or -1)
            area = sum((one["bbox_xmax"] - 9) * 5 for one in curves)
            ratings = {name: first_known([one[name] for one in curves]) for name in ("malignancy", "calcification")}
            merged.setdefault(place, {})[reader] = {**largest, **ratings, "area": area}
            all_readers.setdefault(reader, []).extend(curves)
    has_diameters = any(row["diameter_mm"] is not None for _, row in rows)

    def size(place: Any) -> float:
        name = "diameter_mm" if has_diameters else "area"
        found = mean([row[name] for row in merged[place].values()])
        return -1 if found is None else found

    best = [place for place in slices if size(place) == max(map(size, slices))]
    if not has_diameters:
        best.sort(key=lambda place: slices[place][0][1]["z_mm"])
    key = best[0 if has_diameters else (len(best) - 1) // 2]
    there = list(merged[key].values())
    malignancies = [first_known([row["malignancy"] for row in of_reader]) for of_reader in all_readers.values()]
    volumes = [first_known([row["volume_mm3"] for row in of_reader]) for of_reader in all_readers.values()]
    kinds = Counter(
        kind for of_reader in all_readers.values()
        if (kind := first_known([row["calcification"] for row in of_reader])) is not None
    )  # fmt: skip
    return {
        "csv_row": slices[key][0][0] + 1,
        "diameter_mm": mean([row["diameter_mm"] for row in there]),
        "center_x_px": mean([row["center_x_px"] for row in there]),
        "bbox_xmax": max(row["bbox_xmax"] for _, row in slices[key]),
        "readers": len(all_readers),
        "slices": len(slices),
        "reader_diameters_mm": sorted(row["diameter_mm"] or 0 for row in there),
        "malignancy": mean(malignancies),
        "volume_mm3": mean(volumes),
        "calcification": max(kinds, key=lambda kind: (kinds[kind], kind)) if kinds else None,
        "outlines": sorted(sum(row["points_json"] is not None for _, row in here) for here in slices.values()),
    }


@given(rows=ROWS)
def test_collapse_is_that_of_a_plain_loop(rows: list[Row]) -> None:
    found = collapse_nodules(make_frame(*rows)).to_dicts()
    for nodule in found:
        nodule["reader_diameters_mm"] = sorted(size or 0 for size in nodule["reader_diameters_mm"])
        nodule["outlines"] = sorted(len(one.outlines) for one in parse_slices(nodule["points_json"]))
    expected = collapse_by_loop(rows)
    assert [{name: nodule[name] for name in wanted} for nodule, wanted in zip(found, expected, strict=True)] == expected


@given(rows=ROWS)
def test_key_slices_are_those_of_the_nodules(rows: list[Row]) -> None:
    frame = make_frame(*rows)
    kept, nodules = select_key_slices(frame), collapse_nodules(frame)
    assert set(nodules[schema.CSV_ROW]) <= set(kept[schema.CSV_ROW])
    there = [schema.CSV_ROW, "diameter_mm", "center_x_px", "center_y_px", *schema.BOX_COLUMNS, schema.READER_DIAMETERS]
    again = collapse_nodules(kept)
    assert again.select(there).sort(schema.CSV_ROW).equals(nodules.select(there).sort(schema.CSV_ROW))
    assert again["slices"].unique().to_list() == [1]


def test_readers_of_real_nodules_are_those_of_the_table() -> None:
    table = SHARED_DATA / "lidc_crops" / "rois_all_readers.csv"
    if not table.exists():
        pytest.skip("no ../shared/data")
    frame = read_roi_table(Path(table)).frame
    nodules = collapse_nodules(frame)
    assert nodules["reader_diameters_mm"].list.len().sum() == frame.height
    means = frame.group_by("patient_id", "nodule_id", maintain_order=True).agg(pl.col("diameter_mm").mean().round(6))
    assert nodules["diameter_mm"].equals(means["diameter_mm"])
