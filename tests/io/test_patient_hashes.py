"""Hashes that checkpoints and indexes keep in place of patient ids."""

import hashlib
from pathlib import Path

import pytest

from noduleclip.io.artefacts import hash_file
from noduleclip.io.bundled_model import find_checkpoint, recall_patients
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.io.patients import read_patient_list
from noduleclip.schema import TRAIN_PATIENTS


def test_patients_are_found_by_their_ids_as_they_are_compared_elsewhere() -> None:
    hashes = PatientHashes.from_ids("salt", ["LIDC-IDRI-0001", "b"], ["c"])
    assert hashes.find_trained([" lidc-idri-0001 ", "B", "c", "d"]) == {" lidc-idri-0001 ", "B"}
    assert hashes.find_validated(["b", "C"]) == {"C"}
    assert PatientHashes.from_ids("salt", ["x", "X "]) == PatientHashes.from_ids("salt", ["x"])


def test_a_hash_is_sha256_of_salt_and_folded_id() -> None:
    """Whoever reads an index without this package can check an id."""
    assert PatientHashes.from_ids("s", ["Case 7"]).train == (hashlib.sha256(b"s\ncase 7").hexdigest()[:16],)


def test_two_models_have_no_hash_in_common() -> None:
    one, other = (PatientHashes.from_ids(salt, ["a", "b"]) for salt in ("1", "2"))
    assert not set(one.train) & set(other.train)


def test_they_survive_a_file() -> None:
    for hashes in (PatientHashes.from_ids("salt", ["a", "b"], ["c"]), PatientHashes.from_ids("", ["a"])):
        assert PatientHashes.from_mapping(hashes.to_mapping()) == hashes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (7, "expected salt, train and val"),
        ({"salt": "", "train": ""}, "expected salt, train and val"),
        ({"salt": "", "train": [], "val": ""}, "are no texts"),
        ({"salt": "", "train": "0123", "val": ""}, "does not have 16 hex digits"),
        ({"salt": "", "train": "", "val": "LIDC-IDRI-000001"}, "does not have 16 hex digits"),
    ],
)
def test_what_is_no_such_list_is_refused(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatientHashes.from_mapping(values)


def test_the_patients_of_the_bundled_model_come_with_it() -> None:
    checkpoint = find_checkpoint(Path("lidc"))
    listed = read_patient_list(checkpoint.with_suffix("") / TRAIN_PATIENTS)
    hashes = recall_patients(hash_file(checkpoint))
    assert hashes is not None and len(hashes.train) == len(listed) == 561 and not hashes.val
    assert hashes.find_trained([*listed, "LIDC-IDRI-9999"]) == set(listed)
    assert recall_patients("0" * 64) is None
