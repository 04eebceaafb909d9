"""The row of `index.lance` that binds a store: which version of the rows belongs to which manifest."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.index.lance_tables import (
    INDEX_TABLE,
    MANIFEST,
    PROBES,
    ROWS_TABLE,
    TEXT_ENCODER,
    VERSION,
    Place,
    load_lance,
    translate_lance_errors,
)


class Binding:
    """The row of `index.lance` that an opened store was bound by, to be compared with a later one.

    Lance keeps the versions of a table side by side, so an opened store is one generation. But `embed` removes the old
    versions at its end: a later read of one fails with missing files, and the comparison shows why.

    Attributes:
        generation: Hash of the manifest and of the versions of both tables.
    """

    def __init__(self, place: Place, generation: str) -> None:
        self._place = place
        self.generation = generation

    def was_replaced(self) -> bool:
        """Return whether the store is now bound by another row, or by none that can be read."""
        try:
            table, row = read_binding(self._place, [MANIFEST, VERSION])
            return identify(table, row) != self.generation
        except ArtefactError:
            return True

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Translate errors of Lance while it reads.

        Raises:
            IndexReplacedError: The store was replaced meanwhile.
            ArtefactError: The store is broken, or cannot be reached.
        """
        try:
            with translate_lance_errors(self._place.text):
                yield
        except ArtefactError as error:
            if isinstance(error, IndexReplacedError) or not self.was_replaced():
                raise
            text = self._place.text
            raise IndexReplacedError(f"{text}: was replaced while it was read; run the command again") from error


def read_binding(place: Place, columns: list[str] | None) -> tuple[Any, dict[str, Any]]:
    """Read the one row of `index.lance`, or some of its columns.

    Raises:
        ArtefactError: It cannot be read, or is not of this tool.
    """
    with translate_lance_errors(place.text):
        table = load_lance(place.text).dataset(place.name_table(INDEX_TABLE))
        names = table.schema.names
        if {MANIFEST, TEXT_ENCODER, VERSION, PROBES} <= set(names):
            bound = table.to_table(columns=columns, limit=2).to_pylist()
            if len(bound) == 1:
                return table, bound[0]
    raise ArtefactError(f"{place.text}: {INDEX_TABLE} is not of this tool; embed again")


def parse_row_files(text: object, store: str) -> dict[str, dict[str, Any]]:
    """Parse the checksums of the rows' files in `index.lance`; stores of earlier versions have none."""
    if text is None:
        return {}
    try:
        found: dict[str, dict[str, Any]] = json.loads(text) if isinstance(text, str) else {"": {}}
        known = all(
            PurePosixPath(name).parts[0] in ("data", "_versions", "_indices")
            and ".." not in PurePosixPath(name).parts
            and isinstance(entry["sha256"], str)
            and type(entry["bytes"]) is int
            for name, entry in found.items()
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"{store}: {INDEX_TABLE} is not of this tool ({error!r}); embed again") from error
    if not known:
        raise ArtefactError(f"{store}: {INDEX_TABLE} is not of this tool (its files are others); embed again")
    return found


def find_changed_rows(
    place: Place, files: Mapping[str, Mapping[str, Any]], on_bytes: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Return the paths of files that are missing or not the ones that were written."""
    changed = []
    for name, entry in files.items():
        path = Path(place.name_table(ROWS_TABLE)) / name
        same = path.is_file() and path.stat().st_size == entry["bytes"] and hash_file(path, on_bytes) == entry["sha256"]
        if not same:
            changed.append(f"{place.text.rstrip('/')}/{ROWS_TABLE}/{name}")
    return changed


def identify(table: Any, row: Mapping[str, Any]) -> str:
    """Return a hash of the binding; the version alone starts from 1 again once a store was removed."""
    return hashlib.sha256(f"{table.version} {row[VERSION]} {row[MANIFEST]}".encode()).hexdigest()
