"""Patient lists (one id a line) and the split of a table's patients into train, validation and test."""

import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from noduleclip.errors import InputError, UsageError
from noduleclip.io.text_lines import read_lines


def read_patient_list(path: Path) -> list[str]:
    """Read patient ids, one a line; blank lines, lines starting with `#`, CRLF and a BOM are accepted.

    Returns:
        The ids in file order, trimmed, each once.

    Raises:
        InputError: The file is missing, not UTF-8, too long, or has no id.
    """
    ids: dict[str, str] = {}
    try:
        for line in read_lines(path, "patient ids"):
            ids.setdefault(fold_id(line), line)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such patient list") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save the list as UTF-8, one patient id a line") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not ids:
        raise InputError(f"{path}: holds no patient id; expected one id a line")
    return list(ids.values())


def fold_id(patient_id: str) -> str:
    """Return the form in which two ids are compared: trimmed and case-folded."""
    return patient_id.strip().casefold()


def refuse_overlap(lists: Mapping[str, Sequence[str]]) -> None:
    """Check that no patient is in two lists.

    Args:
        lists: Patient ids by the name of their list.

    Raises:
        InputError: Some are; the message names up to five.
    """
    for (one, patients), (other, others) in itertools.combinations(lists.items(), 2):
        ids = {fold_id(patient) for patient in others}
        shared = [patient for patient in patients if fold_id(patient) in ids]
        if shared:
            named = ", ".join(shared[:5]) + (", …" if len(shared) > 5 else "")
            raise InputError(
                f"{len(shared)} patient(s) stand in both {one} and {other}: {named}; "
                "split by patient (noduleclip split)"
            )


def split_patients(bin_counts: Mapping[str, Sequence[int]], shares: Sequence[float], seed: int) -> list[list[str]]:
    """Split patients so that each split gets its share of patients and of every size bin.

    Patients with many nodules are assigned first, in an order shuffled by `seed`, each to the split in which
    the squared shortfall over patients and bins shrinks the most.

    Args:
        bin_counts: Rows in each size bin, by patient.
        shares: Wanted share of each split; positive, summing to 1.
        seed: Seed of the shuffle.

    Returns:
        For each split its patient ids, sorted.

    Raises:
        UsageError: The shares are not positive or do not sum to 1, or there are too few patients.
    """
    if not (all(share > 0 for share in shares) and abs(sum(shares) - 1) <= 1e-6):  # NaN fails too
        raise UsageError(f"--train, --val and --test must be positive and sum to 1, got {list(shares)}")
    if len(bin_counts) < len(shares):
        raise UsageError(f"{len(bin_counts)} patient(s) cannot be dealt to {len(shares)} splits")
    patients = sorted(bin_counts)
    random.Random(seed).shuffle(patients)
    patients.sort(key=lambda patient: -sum(bin_counts[patient]))
    vectors = {patient: (1, *bin_counts[patient]) for patient in patients}
    totals = [max(1, sum(column)) for column in zip(*vectors.values(), strict=True)]
    missing = [[share * total for total in totals] for share in shares]
    splits: list[list[str]] = [[] for _ in shares]

    def gain(split: int, vector: Sequence[int]) -> float:
        """Return by how much the shortfall of a split, relative to its target, shrinks with `vector`."""
        gained = 0.0
        for lack, amount, total in zip(missing[split], vector, totals, strict=True):
            gained += (lack**2 - (lack - amount) ** 2) / (total**2 * shares[split])
        return gained

    for patient in patients:
        empty = [split for split, chosen in enumerate(splits) if not chosen]
        left = len(patients) - sum(map(len, splits))
        candidates = empty if left == len(empty) else range(len(shares))
        best = max(candidates, key=lambda split: gain(split, vectors[patient]))
        splits[best].append(patient)
        missing[best] = [lack - amount for lack, amount in zip(missing[best], vectors[patient], strict=True)]
    return [sorted(chosen) for chosen in splits]


def format_patient_list(patients: Sequence[str]) -> str:
    """Return patient ids as the text of a list, one a line.

    Raises:
        InputError: An id starts with `#` or has a line break, so it could not be read back.
    """
    for patient in patients:
        if patient.startswith("#") or len(patient.splitlines()) > 1:
            raise InputError(f"the patient id {patient!r} cannot stand in a list; it starts with # or has a line break")
    return "".join(f"{patient}\n" for patient in patients)
