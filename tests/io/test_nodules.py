"""Readers' rows gathered by nodule."""

import math

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from noduleclip import schema
from noduleclip.io.nodules import group_nodules, parse_ratings

Row = tuple[str, str | None, str, float | None]


def make_frame(rows: list[Row]) -> pl.DataFrame:
    names = (schema.PATIENT_ID, schema.NODULE_ID, schema.DICOM_PATH, schema.DIAMETER_MM)
    types = (pl.String, pl.String, pl.String, pl.Float64)
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


def test_readers_of_a_nodule_are_one_sample() -> None:
    frame = make_frame([("A", "1", "s", 5.0), ("A", "2", "s", 9.0), ("A", "1", "s", 6.0), ("A", "1", "s", 7.0)])
    nodules = group_nodules(frame)
    assert len(nodules) == 2
    assert nodules.rows.tolist() == [0, 1]
    assert nodules.members == ((0, 2, 3), (1,))
    np.testing.assert_array_equal(nodules.diameters_mm, [[5, 6, 7], [9, math.nan, math.nan]])


def test_frames_of_a_file_are_slices_of_their_own() -> None:
    frame = make_frame([("A", "1", "v", 5.0), ("A", "1", "v", 6.0), ("A", "1", "v", 7.0), ("A", "1", "s", 8.0)] * 2)
    frames = pl.Series(schema.FRAME, [1.0, 2.0, 1.0, None, 1.0, 2.0, 1.0, 1.0])
    assert group_nodules(frame.with_columns(frames)).members == ((0, 2, 4, 6), (1, 5), (3, 7))


def test_without_nodule_ids_each_row_is_a_nodule() -> None:
    frame = make_frame([("A", "1", "s", 5.0), ("A", "1", "s", None), ("A", "1", "s", 6.0)])
    nodules = group_nodules(frame.drop(schema.NODULE_ID))
    assert nodules.rows.tolist() == [0, 2]
    assert nodules.diameters_mm.tolist() == [[5], [6]]


def test_no_rows_are_no_nodules() -> None:
    for frame in (make_frame([]), make_frame([]).drop(schema.NODULE_ID), make_frame([("A", "1", "s", None)])):
        nodules = group_nodules(frame)
        assert len(nodules) == 0
        assert nodules.diameters_mm.shape == (0, 1)


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("AB"),
            st.none() | st.sampled_from(["0", "1", "2"]),
            st.sampled_from("st"),
            st.none() | st.floats(1, 30),
        ),
        max_size=12,
    )
)
def test_grouping_is_that_of_a_plain_loop(rows: list[Row]) -> None:
    groups: dict[tuple[object, ...], tuple[int, list[float]]] = {}
    for number, (patient, nodule, path, diameter) in enumerate(rows):
        if diameter is not None:
            key = (patient, ("row", number) if nodule is None else nodule, path)
            groups.setdefault(key, (number, []))[1].append(diameter)
    nodules = group_nodules(make_frame(rows))
    assert nodules.rows.tolist() == [first for first, _ in groups.values()]
    found = [[size for size in sizes if not math.isnan(size)] for sizes in nodules.diameters_mm.tolist()]
    assert found == [sizes for _, sizes in groups.values()]


def test_ratings_stand_where_their_readers_diameters_stand() -> None:
    frame = make_frame([("A", "1", "s", 5.0), ("A", "2", "s", 9.0), ("A", "1", "s", 6.0)]).with_columns(
        pl.Series(schema.TEXTURE, [5.0, 3.5, 4.0]),
        pl.Series(schema.CALCIFICATION, [6.0, 6.0, 7.0]),
        pl.Series(schema.MARGIN, [0.0, None, math.nan]),
    )
    ratings, attributes = parse_ratings(frame, group_nodules(frame))
    assert attributes == (schema.CALCIFICATION, schema.TEXTURE)  # nobody rated a margin on its scale
    np.testing.assert_array_equal(ratings[0], [[6, 5], [math.nan, 4]])
    np.testing.assert_array_equal(ratings[1], [[6, math.nan], [math.nan, math.nan]])
    assert parse_ratings(make_frame([("A", "1", "s", 5.0)]), group_nodules(make_frame([("A", "1", "s", 5.0)])))[1] == ()
