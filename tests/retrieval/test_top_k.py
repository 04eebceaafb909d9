"""Exact search, against `sorted`."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError
from noduleclip.retrieval import top_k
from noduleclip.retrieval.top_k import check_unit_norm, compute_cosines, find_top_k, select_top_k

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


@pytest.mark.parametrize("members", [1, 4, 500])
@pytest.mark.parametrize("levels", [3, 10_000])
def test_the_best_of_each_group_is_found_however_many_are_above_it(members: int, levels: int) -> None:
    generator = np.random.default_rng(members)
    scores, groups = generator.integers(0, levels, 4000).astype(float), np.arange(4000) // members
    scores[: 2 * members] += levels  # two groups hold all that is best
    ranked = np.argsort(-scores, kind="stable")
    _, firsts = np.unique(groups[ranked], return_index=True)
    for k in (1, 5, 30):
        assert select_top_k(scores, k, groups).rows.tolist() == ranked[np.sort(firsts)][:k].tolist()


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
    found = find_top_k(query[None], gallery, k)[0]
    assert found.rows.tolist() == expected
    assert found.scores.tolist() == cosines[expected].tolist()


def test_copies_of_a_row_stand_in_the_order_of_their_rows() -> None:
    gallery = np.repeat(unit_rows(3), 50, axis=0)[np.random.default_rng(0).permutation(150)]
    copies = np.flatnonzero((gallery == gallery[7]).all(axis=1))
    assert find_top_k(gallery[[7]], gallery, 50)[0].rows.tolist() == copies.tolist()


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
    found, expected = find_top_k(query[None], mapped, 5)[0], find_top_k(query[None], gallery, 5)[0]
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_array_equal(np.load(tmp_path / "g.npy"), gallery)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named(bad: float) -> None:
    gallery, query = unit_rows(10), np.full(8, 8**-0.5, np.float32)
    gallery[6, 2] = bad
    with pytest.raises(ArtefactError, match=r"^row 6 of the embeddings is not finite; embed again"):
        find_top_k(query[None], gallery, 3)
    with pytest.raises(ArtefactError, match=r"^row 6 of the embeddings"):
        compute_cosines(query, gallery, np.array([2, 6, 9]))


@pytest.mark.parametrize("count", [7, 1001, 4003])
def test_equal_rows_tie_wherever_they_stand(count: int) -> None:
    row = np.random.default_rng(1).normal(size=128).astype(np.float32)
    row /= np.linalg.norm(row)
    gallery = np.tile(row, (count, 1))
    assert find_top_k(row[None], gallery, 5)[0].rows.tolist() == [0, 1, 2, 3, 4]
    cosines = compute_cosines(row, gallery)
    np.testing.assert_array_equal(compute_cosines(row, gallery, np.arange(1, count, 3)), cosines[1::3])


@given(
    count=st.integers(1, 80),
    k=st.integers(1, 12),
    queries=st.integers(1, 9),
    distinct=st.integers(1, 60),
    at_once=st.integers(1, 90),
    seed=st.integers(0, 50),
)
def test_many_sentences_find_what_each_one_finds(
    count: int, k: int, queries: int, distinct: int, at_once: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    gallery = unit_rows(distinct, 32, seed)[np.sort(random.integers(distinct, size=count))]
    asked = unit_rows(queries, 32, seed + 1)
    rows = np.flatnonzero(random.random(count) < 0.7) if seed % 2 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "_ROWS_AT_ONCE", at_once)
        found = find_top_k(asked, gallery, k, rows)
    for query, best in zip(asked, found, strict=True):
        expected = select_top_k(compute_cosines(query, gallery, rows), k)
        numbers = expected.rows if rows is None else rows[expected.rows]
        assert best.rows.tolist() == numbers.tolist()
        assert best.scores.tolist() == expected.scores.tolist()


@pytest.mark.parametrize("queries", [1, 20])
def test_rows_that_get_better_to_the_end_are_found_in_little_memory(queries: int) -> None:
    angles = np.linspace(np.pi / 2, 0, 200_000, dtype=np.float32)
    gallery = np.zeros((len(angles), 4), np.float32)
    gallery[:, 0], gallery[:, 1] = np.cos(angles), np.sin(angles)
    asked = np.tile(np.array([[1, 0, 0, 0]], np.float32), (queries, 1))
    tracemalloc.start()
    found = find_top_k(asked, gallery, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = select_top_k(compute_cosines(asked[0], gallery), 5).rows.tolist()
    assert all(best.rows.tolist() == expected for best in found)
    assert peak < 16e6  # all scores alone are 16 MB for 20 queries


@pytest.mark.parametrize("queries", [1, 5])
def test_huge_numbers_are_finite(queries: int) -> None:
    gallery = np.full((10, 4), 3e38, np.float32)
    asked = np.tile(np.array([[0.9, 0, 0, 0]], np.float32), (queries, 1))
    assert all(best.rows.tolist() == [0, 1] for best in find_top_k(asked, gallery, 2))


def test_no_hits_are_no_number_of_hits() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        find_top_k(unit_rows(1), unit_rows(3), 0)


def test_rows_that_are_no_unit_vectors_are_named() -> None:
    gallery = np.eye(6, dtype=np.float32)
    check_unit_norm(gallery, np.arange(6))
    for length in (2.0, 0.5, 0.0, np.nan, np.inf, 1e38):
        gallery[4, 4] = length
        check_unit_norm(gallery, np.arange(4))
        with pytest.raises(ArtefactError, match=r"^row 4 of the embeddings is no unit vector, its length is .*; embed"):
            check_unit_norm(gallery, np.array([1, 4, 0]))
