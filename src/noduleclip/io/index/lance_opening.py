"""Opening of a Lance store: its parts are held against the manifest, while other processes may replace them."""

import contextlib
import hashlib
import json
from typing import Any

import polars as pl

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.index.base import HASHED_BYTES, check_columns
from noduleclip.io.index.lance import LanceIndex, LanceVectors, read_kinds
from noduleclip.io.index.lance_binding import Binding, find_changed_rows, identify, parse_row_files, read_binding
from noduleclip.io.index.lance_tables import (
    INDEX_TABLE,
    MANIFEST,
    PROBES,
    ROW_FILES,
    ROWS_TABLE,
    TEXT_ENCODER,
    VECTOR,
    VERSION,
    Place,
    load_lance,
    parse_place,
    translate_lance_errors,
)
from noduleclip.io.index.manifest import parse_manifest

_MOST_ENCODER_BYTES = 1 << 28
_TRIES = 5  # to open a store that others replace


def open_lance_index(text: str, *, check_files: bool = True) -> LanceIndex:
    """Open a store and check that its parts belong together.

    Args:
        text: Its address.
        check_files: Compare files of the rows of up to `HASHED_BYTES` with their checksums.

    Raises:
        ArtefactError: A part is missing or broken.
        UsageError: There is no store at such a place, or Lance is not installed.
    """
    place = parse_place(text)
    load_lance(text)
    if place.folder is not None and not (place.folder / INDEX_TABLE).is_dir():
        raise ArtefactError(f"{text}: holds no index; noduleclip embed --store {text} makes one")
    for _ in range(_TRIES - 1):
        with contextlib.suppress(IndexReplacedError):  # between reading what binds its rows and opening them
            return _open_generation(place, check_files)
    return _open_generation(place, check_files)


def _open_generation(place: Place, check_files: bool) -> LanceIndex:
    text = place.text
    try:
        table, one = read_binding(place, None)
    except ArtefactError:  # its row was replaced and removed between the opening of the table and the reading
        table, one = read_binding(place, None)
    try:
        values = json.loads(one[MANIFEST])
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{text}: {INDEX_TABLE} holds no readable manifest ({error})") from error
    if not isinstance(values, dict) or type(one[PROBES]) is not int or type(one[VERSION]) is not int:
        raise ArtefactError(f"{text}: {INDEX_TABLE} is not of this tool; embed again")
    manifest = parse_manifest(values, f"{text}: {INDEX_TABLE}", {schema.TEXT_TOWER})
    text_encoder = one[TEXT_ENCODER]
    if (
        not isinstance(text_encoder, bytes)
        or len(text_encoder) > _MOST_ENCODER_BYTES
        or manifest.files[schema.TEXT_TOWER].get("sha256") != _hash(text_encoder)
    ):
        raise ArtefactError(f"{text}: {schema.TEXT_TOWER} is not the one that the manifest names; embed again")
    row_files = parse_row_files(one.get(ROW_FILES), text)
    binding = Binding(place, identify(table, one))
    with binding.guard():
        rows = load_lance(text).dataset(place.name_table(ROWS_TABLE), version=one[VERSION])
        held, kinds = rows.count_rows(), rows.schema
    if held != manifest.rows:
        raise ArtefactError(f"{text}: {ROWS_TABLE} has {held} rows, the manifest says {manifest.rows}")
    _check_kinds(kinds, manifest.emb, text)
    check_columns(pl.Schema(read_kinds(rows)), f"{text}: {ROWS_TABLE}")
    small = {name: entry for name, entry in row_files.items() if entry["bytes"] <= HASHED_BYTES}
    if check_files and (changed := find_changed_rows(place, small)):
        if binding.was_replaced():
            raise IndexReplacedError(f"{text}: is being replaced again and again; run the command again")
        raise ArtefactError(f"{changed[0]}: is not the file that {INDEX_TABLE} names; embed again")
    vectors = LanceVectors(rows, (manifest.rows, manifest.emb), binding.guard)
    return LanceIndex(
        manifest, vectors, binding.generation, one[PROBES] > 0, place, binding, rows, text_encoder, row_files
    )


def _check_kinds(kinds: Any, emb: int, text: str) -> None:
    import pyarrow as pa

    for name, kind in ((VECTOR, pa.list_(pa.float32(), emb)), (schema.ROW, pa.int64())):
        if name not in kinds.names or kinds.field(name).type != kind:
            found = kinds.field(name).type if name in kinds.names else "missing"
            raise ArtefactError(f"{text}: {ROWS_TABLE}: column {name} is {found}, expected {kind}; embed again")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def holds_index(place: Place) -> bool:
    """Return whether there is a store already."""
    if place.folder is not None:
        return (place.folder / INDEX_TABLE).exists()
    lance = load_lance(place.text)
    with translate_lance_errors(place.text):
        try:
            lance.dataset(place.name_table(INDEX_TABLE))
        except ValueError as error:
            if "not found" not in str(error).lower():  # it is there, and cannot be read
                raise
            return False
    return True
