"""Exact search, against `sorted`."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError
from noduleclip.retrieval import top_k
from noduleclip.retrieval.top_k import compute_cosines, find_top_k, select_top_k

FEW_VALUES = st.sampled_from([-1.0, -0.5, 0.0, -0.0, 0.25, 1.0, -math.inf, math.inf])
SCORES = st.lists(FEW_VALUES | st.floats(-1, 1, width=32), max_size=40)


def unit_rows(count: int, width: int = 8, seed: int = 0) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@given(scores=SCORES, k=st.integers(1, 50), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_best_are_those_of_sorted(scores: list[float], k: int, dtype: type[np.floating]) -> None:
    expected = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]
    found = select_top_k(np.array(scores, dtype), k)
    assert found.rows.tolist() == expected
    assert found.scores.tolist() == [scores[row] for row in expected]
    assert (found.rows.dtype.name, found.scores.dtype.name) == ("int64", "float64")


@given(items=st.lists(st.tuples(FEW_VALUES, st.integers(-2, 4)), max_size=30), k=st.integers(1, 8))
def test_only_the_best_of_each_group_is_found(items: list[tuple[float, int]], k: int) -> None:
    seen: set[int] = set()
    expected = []
    for row in sorted(range(len(items)), key=lambda row: (-items[row][0], row)):
        if items[row][1] not in seen:
            seen.add(items[row][1])
            expected.append(row)
    scores, groups = np.array([score for score, _ in items]), np.array([group for _, group in items], np.int64)
    assert select_top_k(scores, k, groups).rows.tolist() == expected[:k]


@pytest.mark.parametrize("k", [0, -1])
@pytest.mark.parametrize("groups", [None, np.zeros(3, np.int64)])
def test_less_than_one_is_no_number_of_items(k: int, groups: NDArray[np.int64] | None) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        select_top_k(np.zeros(3), k, groups)


@given(count=st.integers(1, 60), k=st.integers(1, 70), seed=st.integers(0, 50), distinct=st.integers(1, 8))
def test_the_nearest_rows_are_found(count: int, k: int, seed: int, distinct: int) -> None:
    gallery = unit_rows(distinct, seed=seed)[np.random.default_rng(seed).integers(distinct, size=count)]
    query = unit_rows(1, seed=seed + 1000)[0]
    cosines = compute_cosines(query, gallery)
    np.testing.assert_allclose(cosines, [math.fsum(row * query) for row in gallery.astype(np.float64)], atol=1e-6)
    expected = sorted(range(count), key=lambda row: (-cosines[row], row))[:k]
    found = find_top_k(query, gallery, k)
    assert found.rows.tolist() == expected
    assert found.scores.tolist() == cosines[expected].tolist()


def test_copies_of_a_row_stand_in_the_order_of_their_rows() -> None:
    gallery = np.repeat(unit_rows(3), 50, axis=0)[np.random.default_rng(0).permutation(150)]
    copies = np.flatnonzero((gallery == gallery[7]).all(axis=1))
    assert find_top_k(gallery[7], gallery, 50).rows.tolist() == copies.tolist()


def test_cosines_stay_in_their_range() -> None:
    almost_unit = np.float32(1.000001) * np.eye(3, dtype=np.float32)
    assert compute_cosines(almost_unit[1], almost_unit).tolist() == [0, 1, 0]
    assert compute_cosines(-almost_unit[1], almost_unit).tolist() == [0, -1, 0]


def test_only_the_rows_asked_for_are_compared() -> None:
    gallery, query = unit_rows(30), unit_rows(1, seed=1)[0]
    gallery[4] = np.nan
    rows = np.array([0, 3, 17, 29])
    np.testing.assert_array_equal(compute_cosines(query, gallery, rows), compute_cosines(query, gallery[rows]))
    assert compute_cosines(query, gallery, rows[:0]).shape == (0,)


@pytest.mark.parametrize("at_once", [1, 3, 10, 11])
def test_pieces_make_the_whole(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    gallery, query, rows = unit_rows(10), unit_rows(1, seed=1)[0], np.array([1, 2, 5, 8, 9])
    whole, part = compute_cosines(query, gallery), compute_cosines(query, gallery, rows)
    monkeypatch.setattr(top_k, "_ROWS_AT_ONCE", at_once)
    np.testing.assert_allclose(compute_cosines(query, gallery), whole, atol=1e-6)
    np.testing.assert_allclose(compute_cosines(query, gallery, rows), part, atol=1e-6)


def test_a_mapped_gallery_is_searched_and_left_as_it_was(tmp_path: Path) -> None:
    gallery, query = unit_rows(50), unit_rows(1, seed=1)[0]
    np.save(tmp_path / "g.npy", gallery)
    mapped = np.load(tmp_path / "g.npy", mmap_mode="r")
    found, expected = find_top_k(query, mapped, 5), find_top_k(query, gallery, 5)
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_array_equal(np.load(tmp_path / "g.npy"), gallery)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(bad: float) -> None:
    gallery, query = unit_rows(10), np.full(8, 8**-0.5, np.float32)
    gallery[6, 2] = bad
    with pytest.raises(ArtefactError, match=r"^row 6 of the embeddings is not finite; embed again"):
        find_top_k(query, gallery, 3)
    with pytest.raises(ArtefactError, match=r"^row 6 of the embeddings"):
        compute_cosines(query, gallery, np.array([2, 6, 9]))


@pytest.mark.parametrize("count", [7, 1001, 4003])
def test_equal_rows_tie_wherever_they_stand(count: int) -> None:
    row = np.random.default_rng(1).normal(size=128).astype(np.float32)
    row /= np.linalg.norm(row)
    gallery = np.tile(row, (count, 1))
    assert find_top_k(row, gallery, 5).rows.tolist() == [0, 1, 2, 3, 4]
    cosines = compute_cosines(row, gallery)
    np.testing.assert_array_equal(compute_cosines(row, gallery, np.arange(1, count, 3)), cosines[1::3])
