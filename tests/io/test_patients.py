"""Patient lists as people save them, and splits that keep patients apart and sizes together."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noduleclip.errors import InputError, UsageError
from noduleclip.io.patients import fold_id, format_patient_list, read_patient_list, refuse_overlap, split_patients

SHARES = (0.7, 0.1, 0.2)


@pytest.mark.parametrize(
    "content",
    [
        b"A-1\nB 2\n",
        b"A-1\nB 2",
        b"A-1\r\nB 2\r\n",
        b"\xef\xbb\xbfA-1\nB 2\n",
        b"# train\n\n  A-1 \t\n\n  # more\nB 2\n\n",
        b"A-1\nB 2\na-1\nA-1 \nb 2",
    ],
    ids=["plain", "no last newline", "CRLF", "BOM", "comments and blanks", "twice"],
)
def test_lists_are_read_as_they_were_meant(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "patients.txt"
    path.write_bytes(content)
    assert read_patient_list(path) == ["A-1", "B 2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no patient id"),
        (b"\xef\xbb\xbf", "holds no patient id"),
        (b"# only\n \r\n", "holds no patient id"),
        ("Müller\n".encode("latin-1"), "not UTF-8 text"),
        ("A-1\n".encode("utf-16"), "not UTF-8 text"),
    ],
    ids=["empty", "only a BOM", "only comments", "latin-1", "UTF-16"],
)
def test_lists_without_ids_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "patients.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"patients\.txt: {message}"):
        read_patient_list(path)


def test_a_list_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nobody\.txt: no such patient list"):
        read_patient_list(tmp_path / "nobody.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_patient_list(tmp_path)


IDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1).filter(lambda text: text[0] != "#")


@given(ids=st.lists(IDS, min_size=1, unique_by=fold_id))
def test_a_written_list_comes_back(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "ids.txt"
    path.write_text(format_patient_list(ids), encoding="utf-8", newline="\n")
    assert read_patient_list(path) == ids


def test_shared_patients_are_named_up_to_five() -> None:
    refuse_overlap({"a.txt": ["A", "B"], "b.txt": ["C"]})
    with pytest.raises(InputError, match=r"^1 patient\(s\) stand in both a and c: lidc-1 ; split by patient"):
        refuse_overlap({"a": ["lidc-1 ", "B"], "b": ["C"], "c": [" LIDC-1"]})
    five = [f"P{number}" for number in range(5)]
    with pytest.raises(InputError, match=r"^5 patient\(s\).*: P0, P1, P2, P3, P4; "):
        refuse_overlap({"a": five, "b": five})
    many = [f"P{number}" for number in range(7)]
    with pytest.raises(InputError, match=r"^7 patient\(s\).*: P0, P1, P2, P3, P4, …; "):
        refuse_overlap({"a": many, "b": many})


def realistic_counts(patients: int, seed: int) -> dict[str, tuple[int, int, int]]:
    """Rows by size bin: most patients have few, some have many."""
    rng = random.Random(seed)
    counts = {}
    for number in range(patients):
        sizes = [rng.lognormvariate(2.0, 0.5) for _ in range(1 + int(rng.expovariate(0.15)))]
        counts[f"P{number:04d}"] = (
            sum(size <= 6 for size in sizes),
            sum(6 < size <= 10 for size in sizes),
            sum(size > 10 for size in sizes),
        )
    return counts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("patients", [80, 600])
def test_patients_and_sizes_are_shared_out_as_asked(patients: int, seed: int) -> None:
    counts = realistic_counts(patients, seed)
    splits = split_patients(counts, SHARES, seed)
    totals = [len(counts), *map(sum, zip(*counts.values(), strict=True))]
    for chosen, share in zip(splits, SHARES, strict=True):
        columns = [len(chosen), *map(sum, zip(*(counts[patient] for patient in chosen), strict=True))]
        for amount, total in zip(columns, totals, strict=True):
            assert amount / total == pytest.approx(share, abs=0.03 if patients < 100 else 0.01)


@given(
    counts=st.dictionaries(st.text(max_size=4), st.tuples(*[st.integers(0, 9)] * 3), min_size=3, max_size=25),
    weights=st.lists(st.floats(0.05, 1), min_size=1, max_size=3),
    seed=st.integers(0, 5),
)
def test_a_split_is_a_partition(counts: dict[str, tuple[int, int, int]], weights: list[float], seed: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    splits = split_patients(counts, shares, seed)
    assert sorted(patient for split in splits for patient in split) == sorted(counts)
    assert all(splits), "no split is empty"
    assert all(split == sorted(split) for split in splits)
    shuffled = dict(random.Random(seed).sample(list(counts.items()), len(counts)))
    assert split_patients(shuffled, shares, seed) == splits, "the order of the table has no say"


def test_the_seed_decides() -> None:
    counts = realistic_counts(50, 0)
    assert len({str(split_patients(counts, SHARES, seed)) for seed in range(4)}) == 4
    assert split_patients(counts, SHARES, 3) == split_patients(counts, SHARES, 3)


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.1), (0.9, 0.2, -0.1), (1.0, 0.0, 0.0), (float("nan"), 0.1, 0.2)])
def test_bad_shares_are_refused(shares: tuple[float, ...]) -> None:
    message = re.escape(f"must be positive and sum to 1, got {list(shares)}")
    with pytest.raises(UsageError, match=message):
        split_patients(realistic_counts(5, 0), shares, 0)


def test_too_few_patients_are_refused() -> None:
    assert split_patients({"a": (0, 0, 1), "b": (0, 1, 0), "c": (9, 9, 9)}, SHARES, 0)
    with pytest.raises(UsageError, match=r"^2 patient\(s\) cannot be dealt to 3 splits"):
        split_patients({"a": (0, 0, 1), "b": (0, 1, 0)}, SHARES, 0)


@pytest.mark.parametrize("patient", ["#12", "A\nB"])
def test_an_id_that_would_not_be_read_back_is_refused(patient: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot stand in a list"):
        format_patient_list(["A", patient])
    assert not (tmp_path / "list.txt").exists()
