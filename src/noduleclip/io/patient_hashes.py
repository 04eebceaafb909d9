"""Hashes of the patients that trained a model, which checkpoints and indexes keep in place of the ids."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from noduleclip.io.patients import fold_id

_DIGITS: Final = 16  # 64 bits: among a million patients two share a hash with a probability of 3e-8


@dataclass(frozen=True)
class PatientHashes:
    """The patients that trained a model and those that chose its epoch.

    Whoever can guess an id can check the guess: the hash of an id with a known pattern does not hide it.

    Attributes:
        salt: Text that is hashed with every id, so that the hashes of two models cannot be compared.
        train: Sorted hashes of the training patients, hex digits.
        val: Sorted hashes of the validation patients, hex digits.
    """

    salt: str
    train: tuple[str, ...]
    val: tuple[str, ...]

    @classmethod
    def from_ids(cls, salt: str, train: Iterable[str], val: Iterable[str] = ()) -> Self:
        """Hash the ids of training and validation patients."""
        return cls(salt, *(tuple(sorted({hash_id(salt, one) for one in ids})) for ids in (train, val)))

    @classmethod
    def from_mapping(cls, values: object) -> Self:
        """Parse the result of `to_mapping`.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(values, dict) or set(values) != {"salt", "train", "val"}:
            raise ValueError("expected salt, train and val")
        if not all(isinstance(text, str) for text in values.values()):
            raise ValueError("salt, train and val are no texts")
        hashes = [tuple(values[name].split()) for name in ("train", "val")]
        if not all(re.fullmatch(rf"[0-9a-f]{{{_DIGITS}}}", one) for one in (*hashes[0], *hashes[1])):
            raise ValueError(f"a hash does not have {_DIGITS} hex digits")
        return cls(values["salt"], *hashes)

    def to_mapping(self) -> dict[str, str]:
        """Return texts for JSON and checkpoints: the hashes of a list in one text, with spaces between them."""
        return {"salt": self.salt, "train": " ".join(self.train), "val": " ".join(self.val)}

    def find_trained(self, ids: Iterable[str]) -> set[str]:
        """Return those of some ids whose patients trained the model."""
        return self._find(ids, self.train)

    def find_validated(self, ids: Iterable[str]) -> set[str]:
        """Return those of some ids whose patients chose the epoch of the model."""
        return self._find(ids, self.val)

    def _find(self, ids: Iterable[str], hashes: Iterable[str]) -> set[str]:
        known = set(hashes)
        return {one for one in ids if hash_id(self.salt, one) in known}


def hash_id(salt: str, patient_id: str) -> str:
    """Return the hash of an id in the form in which ids are compared."""
    return hashlib.sha256(f"{salt}\n{fold_id(patient_id)}".encode()).hexdigest()[:_DIGITS]
