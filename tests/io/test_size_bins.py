"""Counts by size bin, against asking each interval of each diameter."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from noduleclip import schema
from noduleclip.io.size_bins import count_bins, count_sizes, size_bins

SIZES = st.none() | st.sampled_from([3.0, 6.0, 6.000001, 10.0, 10.000001, 100.0]) | st.floats(0.1, 100)


def test_every_diameter_lies_in_one_bin() -> None:
    bins = size_bins()
    assert len(bins) == 3
    for size in (0.1, 3.0, 6.0, 6.1, 10.0, 10.1, 99.9, 100.0):
        assert sum(interval.contains(size) for interval in bins) == 1
    assert [interval.contains(6) for interval in bins] == [True, False, False]
    assert [interval.contains(10) for interval in bins] == [False, True, False]


@given(rows=st.lists(st.tuples(st.sampled_from("ABC"), SIZES), max_size=30))
def test_counts_are_those_of_the_intervals(rows: list[tuple[str, float | None]]) -> None:
    frame = pl.DataFrame(rows, schema={schema.PATIENT_ID: pl.String, schema.DIAMETER_MM: pl.Float64}, orient="row")
    expected: dict[str, tuple[int, ...]] = {}
    for patient in {patient for patient, _ in rows}:
        sizes = [size for name, size in rows if name == patient and size is not None]
        expected[patient] = tuple(sum(map(interval.contains, sizes)) for interval in size_bins())
    counts = count_bins(frame)
    assert {patient: bins[:-1] for patient, bins in count_bins(frame, unknown=True).items()} == counts
    assert counts == expected
    assert sum(map(sum, counts.values())) == sum(size is not None for _, size in rows)


@given(sizes=st.lists(SIZES | st.just(4.0), max_size=30))
def test_a_histogram_holds_every_row_once(sizes: list[float | None]) -> None:
    counts = count_sizes(pl.DataFrame({schema.DIAMETER_MM: pl.Series(sizes, dtype=pl.Float64)}))
    assert sum(counts.values()) == len(sizes)
    assert counts["unknown"] == sizes.count(None)
    assert counts["3-4"] == sum(size is not None and 3 < size <= 4 for size in sizes)
    assert counts["> 30"] == sum(size is not None and size > 30 for size in sizes)
