"""An index in a Lance store, in a folder or an object store: opened, read row by row, and written."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import INDEXED_ROWS, to_mapping
from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.index.folder import (
    HASHED_BYTES,
    Index,
    Manifest,
    check_columns,
    check_texts,
    describe_file,
    parse_manifest,
)
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
    commit_fragments,
    load_lance,
    make_schema,
    name_column,
    parse_place,
    show_column,
    telling_broken,
    telling_unwritten,
    write_fragment,
)
from noduleclip.io.polars_errors import FAILURES, blame_polars

_ROWS_OF_PARTITION = 4096
_MOST_PROBES = 4096
_REFINED = 4  # times the hits wanted are scored by their whole vectors
_TRIED_ROWS, _TRIED_HITS, _WANTED_RECALL = 24, 10, 0.995
_SAFETY, _LEAST_PROBES, _LEAST_SHARE = 4, 64, 8  # a sentence lies farther from the rows than rows from each other
_BATCH_ROWS = 1 << 15
_SCANNED_ROWS = 1 << 14  # Lance takes four times as long a row for eight times as many at once
_DENSE = 8  # rows that are read rather than looked up one by one, for each that is wanted
_MOST_TOWER_BYTES = 1 << 28
_LAST_VERSION = (1 << 64) - 1  # Lance counts the names of its versions down from here
_TRIES = 5  # to open a store that others replace

Guard = Callable[[], contextlib.AbstractContextManager[None]]


class Binding:
    """The row of `index.lance` that an opened store was bound by, to be compared with the one that is there later.

    Lance keeps the versions of a table side by side, so that what is opened is one generation. But `embed` removes the
    old versions at its end: whoever still reads them then runs into missing files, and learns here why.

    Attributes:
        generation: Hash of the manifest and of the versions of both tables.
    """

    def __init__(self, place: Place, generation: str) -> None:
        self._place = place
        self.generation = generation

    def was_replaced(self) -> bool:
        """Return whether the store is now bound by another row, or by none that can be read."""
        try:
            table, row = _read_binding(self._place, [MANIFEST, VERSION])
            return _identify(table, row) != self.generation
        except ArtefactError:
            return True

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what Lance raises while it reads into one line.

        Raises:
            IndexReplacedError: The store was replaced meanwhile.
            ArtefactError: The store is broken, or cannot be reached.
        """
        try:
            with telling_broken(self._place.text):
                yield
        except ArtefactError as error:
            if isinstance(error, IndexReplacedError) or not self.was_replaced():
                raise
            text = self._place.text
            raise IndexReplacedError(f"{text}: was replaced while it was read; run the command again") from error


class LanceVectors:
    """(N, D) unit rows, read from the table where they are asked for."""

    def __init__(self, rows: Any, shape: tuple[int, int], guard: Guard) -> None:
        self._rows, self.shape, self._guard = rows, shape, guard

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.float32]:
        """Read (n, D) rows in the order asked for."""
        if isinstance(rows, slice):
            start, end, _ = rows.indices(len(self))
            return self._read(start, end)
        if len(rows) == 0:
            return np.empty((0, self.shape[1]), np.float32)
        start, end = int(rows.min()), int(rows.max()) + 1
        if end - start <= _DENSE * len(rows):
            return self._read(start, end)[rows - start]
        with self._guard():
            return self._unpack(self._rows.take(rows.tolist(), columns=[VECTOR])[VECTOR])

    def _read(self, start: int, end: int) -> NDArray[np.float32]:
        vectors = np.empty((max(0, end - start), self.shape[1]), np.float32)
        with self._guard():
            for first in range(start, end, _SCANNED_ROWS):
                count = min(_SCANNED_ROWS, end - first)
                found = self._rows.scanner(columns=[VECTOR], offset=first, limit=count, batch_size=count).to_table()
                vectors[first - start : first - start + count] = self._unpack(found[VECTOR])
        return vectors

    def _unpack(self, column: Any) -> NDArray[np.float32]:
        parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
        flat = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])
        return np.asarray(flat, np.float32).reshape(-1, self.shape[1])


@dataclass(frozen=True)
class LanceIndex(Index):
    """An index in a Lance store.

    Attributes:
        place: Where it lies.
        binding: What it was bound by when it was opened.
        rows: The table of its rows, at the version that belongs to the manifest.
        text_encoder: The text encoder.
        probes: Parts of the vector index that a query looks into; 0 where there is none.
        row_files: SHA-256 and size in bytes of each file of `rows`; none of a store that is no folder, or was written
            by an earlier version of this tool.
    """

    place: Place
    binding: Binding
    rows: Any
    text_encoder: bytes
    probes: int
    row_files: Mapping[str, Mapping[str, Any]]

    @property
    def location(self) -> str:
        """Where it lies."""
        return self.place.text

    def was_replaced(self) -> bool:
        """Return whether the store now holds another generation, or none that can be read."""
        return self.binding.was_replaced()

    def scan(self) -> pl.LazyFrame:
        """The rows' metadata in the order of the embeddings, read in batches, of which only some columns."""
        from polars.io.plugins import register_io_source

        def read(
            columns: list[str] | None, predicate: pl.Expr | None, most: int | None, size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = self.manifest.rows if most is None else most
            for frame in self._read_batches(columns or list(self._kinds()), size or _BATCH_ROWS):
                part = frame.head(left)
                left -= part.height
                yield part if predicate is None else part.filter(predicate)
                if left <= 0:
                    return

        return register_io_source(read, schema=self._kinds())

    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata."""
        try:
            return plan.collect()
        except FAILURES as error:
            for _ in self._read_batches(list(self._kinds()), _BATCH_ROWS):  # raises what is wrong with the store
                pass
            raise blame_polars(f"{self.location}: {ROWS_TABLE}", error) from error

    def read_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for."""
        return self._take(rows, list(self._kinds()))

    def read_outlines(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """Read the outlines of some rows as the table had them."""
        if schema.POINTS_JSON not in self.rows.schema.names:
            return [None] * len(rows)
        return self._take(rows, [schema.POINTS_JSON])[schema.POINTS_JSON].to_list()

    @contextlib.contextmanager
    def text_encoder_path(self) -> Iterator[Path]:
        """Return the text encoder as a file of its own folder, beside which there is nothing that it could point to."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / schema.TEXT_TOWER
            file.write_bytes(self.text_encoder)
            yield file

    @property
    def has_vector_index(self) -> bool:
        """Whether one was built."""
        return self.probes > 0

    def count_rows(self, condition: str | None) -> int:
        """Count the rows that meet a condition in Lance's SQL."""
        with self.binding.guard():
            return int(self.rows.count_rows(filter=condition))

    def find_near(self, vector: NDArray[np.float32], k: int, condition: str | None) -> NDArray[np.int64]:
        """Find rows near a vector by the vector index, those that do not meet the condition left out beforehand.

        With one, all parts are looked into: what meets it may lie far away, as large nodules from a small one.
        """
        probes = self.probes if condition is None else _count_partitions(self.manifest.rows)
        with self.binding.guard():
            return _find_near(self.rows, vector, k, probes, condition)

    @property
    def binds_rows(self) -> bool:
        """Whether checksums of the rows' files were recorded."""
        return bool(self.row_files)

    @property
    def files_bytes(self) -> int:
        """The bytes of the rows' files."""
        return sum(said["bytes"] for said in self.row_files.values())

    def find_changed_files(self, on_bytes: Callable[[int], None] = lambda _: None) -> list[str]:
        """Hash all files of the rows, whole, and return the paths of those that are not the ones that were written.

        The text encoder was compared with its checksum when the store was opened.
        """
        return _find_changed(self.place, self.row_files, on_bytes)

    def check_order(self) -> None:
        """Read the number of every row.

        Raises:
            ArtefactError: The rows do not lie in their order.
        """
        at = 0
        with self.binding.guard():
            for batch in self.rows.scanner(columns=[schema.ROW], batch_size=_BATCH_ROWS).to_batches():
                found = batch[schema.ROW].to_numpy(zero_copy_only=False)
                if not np.array_equal(found, np.arange(at, at + len(found))):
                    raise ArtefactError(f"{self.location}: {ROWS_TABLE}: rows are not in their order; embed again")
                at += len(found)

    def _kinds(self) -> dict[str, pl.DataType]:
        return _read_kinds(self.rows)

    def _read_batches(self, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        with self.binding.guard():
            for batch in self.rows.scanner(columns=list(map(name_column, columns)), batch_size=size).to_batches():
                yield self._as_frame(batch, columns)

    def _take(self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str]) -> pl.DataFrame:
        names = list(map(name_column, columns))
        with self.binding.guard():
            if not len(rows):
                return self._as_frame(self.rows.schema.empty_table().select(names), columns)
            return self._as_frame(self.rows.take([int(row) for row in rows], columns=names), columns)

    def _as_frame(self, found: Any, columns: Sequence[str]) -> pl.DataFrame:
        frame = pl.DataFrame(pl.from_arrow(found)).rename(show_column).select(columns)
        check_texts(frame.select(pl.exclude(schema.POINTS_JSON)), f"{self.location}: {ROWS_TABLE}")
        return frame.cast({schema.ROW: pl.get_index_type()}) if schema.ROW in columns else frame


def _read_kinds(rows: Any) -> dict[str, pl.DataType]:
    """Return the columns that a query sees, the row's number first."""
    names = [name for name in rows.schema.names if name not in (schema.ROW, schema.POINTS_JSON, VECTOR)]
    kinds = pl.DataFrame(pl.from_arrow(rows.schema.empty_table().select(names))).rename(show_column).schema
    return {schema.ROW: pl.Series(dtype=pl.get_index_type()).dtype, **kinds}


def open_lance_index(text: str, *, hashed_bytes: int = HASHED_BYTES) -> LanceIndex:
    """Open a store and check that its parts belong together.

    Args:
        text: Where it lies.
        hashed_bytes: Files of the rows up to this size are compared with their checksums.

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
            return _open_generation(place, hashed_bytes)
    return _open_generation(place, hashed_bytes)


def _open_generation(place: Place, hashed_bytes: int) -> LanceIndex:
    text = place.text
    try:
        table, one = _read_binding(place, None)
    except ArtefactError:  # its row was replaced and removed between the opening of the table and the reading
        table, one = _read_binding(place, None)
    try:
        values = json.loads(one[MANIFEST])
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{text}: {INDEX_TABLE} holds no readable manifest ({error})") from error
    if not isinstance(values, dict) or type(one[PROBES]) is not int or type(one[VERSION]) is not int:
        raise ArtefactError(f"{text}: {INDEX_TABLE} is not of this tool; embed again")
    manifest = parse_manifest(values, f"{text}: {INDEX_TABLE}", {schema.TEXT_TOWER})
    said = manifest.files[schema.TEXT_TOWER]
    text_encoder = one[TEXT_ENCODER]
    if (
        not isinstance(text_encoder, bytes)
        or len(text_encoder) > _MOST_TOWER_BYTES
        or said.get("sha256") != _hash(text_encoder)
    ):
        raise ArtefactError(f"{text}: {schema.TEXT_TOWER} is not the one that the manifest names; embed again")
    row_files = _parse_row_files(one.get(ROW_FILES), text)
    binding = Binding(place, _identify(table, one))
    with binding.guard():
        rows = load_lance(text).dataset(place.name_table(ROWS_TABLE), version=one[VERSION])
        held, kinds = rows.count_rows(), rows.schema
    if held != manifest.rows:
        raise ArtefactError(f"{text}: {ROWS_TABLE} has {held} rows, the manifest says {manifest.rows}")
    _check_kinds(kinds, manifest.emb, text)
    check_columns(pl.Schema(_read_kinds(rows)), f"{text}: {ROWS_TABLE}")
    small = {name: said for name, said in row_files.items() if said["bytes"] <= hashed_bytes}
    if changed := _find_changed(place, small):
        if binding.was_replaced():
            raise IndexReplacedError(f"{text}: is being replaced again and again; run the command again")
        raise ArtefactError(f"{changed[0]}: is not the file that {INDEX_TABLE} names; embed again")
    vectors = LanceVectors(rows, (manifest.rows, manifest.emb), binding.guard)
    return LanceIndex(manifest, vectors, binding.generation, place, binding, rows, text_encoder, one[PROBES], row_files)


def _read_binding(place: Place, columns: list[str] | None) -> tuple[Any, dict[str, Any]]:
    """Read the one row of `index.lance`, or some of its columns.

    Raises:
        ArtefactError: It cannot be read, or is not of this tool.
    """
    with telling_broken(place.text):
        table = load_lance(place.text).dataset(place.name_table(INDEX_TABLE))
        names = table.schema.names
        if {MANIFEST, TEXT_ENCODER, VERSION, PROBES} <= set(names):
            bound = table.to_table(columns=columns, limit=2).to_pylist()
            if len(bound) == 1:
                return table, bound[0]
    raise ArtefactError(f"{place.text}: {INDEX_TABLE} is not of this tool; embed again")


def _list_vector_indexes(place: Place) -> set[Path]:
    """Return the folders of all vector indexes of a store, those of earlier versions included."""
    return set() if place.folder is None else set(Path(place.name_table(ROWS_TABLE)).glob("_indices/*"))


def _describe_row_files(place: Place, rows: Any, earlier: set[Path]) -> dict[str, dict[str, Any]]:
    """Return checksum and size of each file of a version of the rows, by its path in the table.

    Args:
        place: The store; in an object store nothing is read back, and nothing is returned.
        rows: The table at that version.
        earlier: Folders of vector indexes that are of earlier versions.
    """
    if place.folder is None:
        return {}
    folder = Path(place.name_table(ROWS_TABLE))
    versions = [folder / "_versions" / f"{number}.manifest" for number in (rows.version, _LAST_VERSION - rows.version)]
    found = [
        *(folder / "data" / file.path for fragment in rows.get_fragments() for file in fragment.data_files()),
        *(path for path in versions if path.exists()),
        *(path for one in _list_vector_indexes(place) - earlier for path in one.rglob("*") if path.is_file()),
    ]
    return {path.relative_to(folder).as_posix(): describe_file(path) for path in sorted(found)}


def _parse_row_files(text: object, store: str) -> dict[str, dict[str, Any]]:
    """Read what `index.lance` says of the rows' files; an earlier version of this tool said nothing of them."""
    if text is None:
        return {}
    try:
        found: dict[str, dict[str, Any]] = json.loads(text) if isinstance(text, str) else {"": {}}
        known = all(
            PurePosixPath(name).parts[0] in ("data", "_versions", "_indices")
            and ".." not in PurePosixPath(name).parts
            and isinstance(said["sha256"], str)
            and type(said["bytes"]) is int
            for name, said in found.items()
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ArtefactError(f"{store}: {INDEX_TABLE} is not of this tool ({error!r}); embed again") from error
    if not known:
        raise ArtefactError(f"{store}: {INDEX_TABLE} is not of this tool (its files are others); embed again")
    return found


def _find_changed(
    place: Place, files: Mapping[str, Mapping[str, Any]], on_bytes: Callable[[int], None] = lambda _: None
) -> list[str]:
    """Return the paths of files that are missing or not the ones that were written."""
    changed = []
    for name, said in files.items():
        path = Path(place.name_table(ROWS_TABLE)) / name
        same = path.is_file() and path.stat().st_size == said["bytes"] and hash_file(path, on_bytes) == said["sha256"]
        if not same:
            changed.append(f"{place.text.rstrip('/')}/{ROWS_TABLE}/{name}")
    return changed


def _identify(table: Any, row: Mapping[str, Any]) -> str:
    """Return a hash of what binds a store; the version alone begins anew with a store that was removed."""
    return _hash(f"{table.version} {row[VERSION]} {row[MANIFEST]}".encode())


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
    with telling_broken(place.text):
        try:
            lance.dataset(place.name_table(INDEX_TABLE))
        except ValueError as error:
            if "not found" not in str(error).lower():  # it is there, and cannot be read
                raise
            return False
    return True


def write_lance_index(
    place: Place,
    pieces: Iterable[NDArray[np.float32]],
    meta: pl.DataFrame,
    outlines: pl.Series | None,
    text_encoder_file: Path,
    manifest: Manifest,
    *,
    indexed_rows: int = INDEXED_ROWS,
) -> Manifest:
    """Write a store: all of it, or, for whatever ends this early, nothing of what it was changes.

    Args:
        place: Where.
        pieces: (n, D) unit rows in row order.
        meta: (N,) their metadata.
        outlines: (N,) their outlines, where the table has any.
        text_encoder_file: The text encoder.
        manifest: What is to be said of it; its files are filled in.
        indexed_rows: Rows from which on a vector index is built.

    Returns:
        The manifest written.

    Raises:
        OutputError: The store cannot be written.
    """
    fragments = write_fragment(place, 0, pieces, meta, outlines)
    return bind_fragments(
        place,
        fragments,
        make_schema(manifest.emb, meta, outlines),
        text_encoder_file,
        manifest,
        indexed_rows=indexed_rows,
    )


def bind_fragments(
    place: Place, fragments: Sequence[str], made: Any, text_encoder_file: Path, manifest: Manifest, *, indexed_rows: int
) -> Manifest:
    """Make a store of fragments that were written beside it, in the order of their rows; by whom does not matter.

    Raises:
        OutputError: The store cannot be written.
    """
    lance = load_lance(place.text)
    rows = commit_fragments(place, fragments, made)
    if (held := rows.count_rows()) != manifest.rows:
        raise ValueError(f"the fragments have {held} rows, not {manifest.rows}")
    _check_order(rows)
    probes = 0
    earlier = _list_vector_indexes(place)
    if manifest.rows >= indexed_rows:
        partitions = _count_partitions(manifest.rows)
        with telling_unwritten(place.text):
            rows = rows.create_index(VECTOR, "IVF_SQ", metric="cosine", num_partitions=partitions)
            probes = _choose_probes(rows, manifest.rows, partitions)
    text_encoder = text_encoder_file.read_bytes()
    files = {schema.TEXT_TOWER: {"sha256": _hash(text_encoder), "bytes": len(text_encoder)}}
    bound = Manifest(**{**_as_fields(manifest), "files": files})
    with telling_unwritten(place.text):
        row_files = _describe_row_files(place, rows, earlier)
    _write_binding(lance, place, bound, text_encoder, rows.version, probes, row_files)
    return bound


def _count_partitions(rows: int) -> int:
    return min(max(rows // _ROWS_OF_PARTITION, 1), _MOST_PROBES)


def _check_order(rows: Any) -> None:
    """Refuse fragments that were not given in the order of their rows: vectors would be found under other numbers."""
    ends = np.cumsum([fragment.count_rows() for fragment in rows.get_fragments()])
    bounds = np.unique([0, *ends[:-1], *(ends - 1)]).tolist()
    found = rows.take(bounds, columns=[schema.ROW])[schema.ROW].to_pylist()
    if found != bounds:
        raise ValueError(f"the fragments are not in the order of their rows: {found[:8]} instead of {bounds[:8]}")


def _find_near(
    rows: Any, vector: NDArray[np.float32], k: int, probes: int, condition: str | None = None
) -> NDArray[np.int64]:
    """Find the rows near a vector, ascending; all rows are looked at where there are no probes."""
    near = {"column": VECTOR, "q": vector, "k": k, "metric": "cosine"}
    near |= {"nprobes": probes, "refine_factor": _REFINED} if probes else {"use_index": False}
    found = rows.scanner(
        columns=[schema.ROW], nearest=near, filter=condition, prefilter=True, disable_scoring_autoprojection=True
    ).to_table()
    return np.asarray(np.sort(found[schema.ROW].to_numpy()), np.int64)


def _choose_probes(rows: Any, count: int, partitions: int) -> int:
    """Choose how many parts a query looks into: what rows need to find their neighbours, and a margin.

    Vectors that fill all directions need every part; trained ones, which lie near a curve of sizes, need few.
    """
    tried = np.unique(np.linspace(0, count - 1, _TRIED_ROWS).astype(np.int64))
    vectors = LanceVectors(rows, (count, rows.schema.field(VECTOR).type.list_size), contextlib.nullcontext)[tried]
    exact = [_find_near(rows, vector, _TRIED_HITS, 0) for vector in vectors]
    wanted = _WANTED_RECALL * sum(map(len, exact))
    probes = min(8, partitions)
    while probes < partitions:
        found = [_find_near(rows, vector, _TRIED_HITS, probes) for vector in vectors]
        if sum(len(np.intersect1d(one, other)) for one, other in zip(found, exact, strict=True)) >= wanted:
            break
        probes *= 2
    return min(max(_SAFETY * probes, _LEAST_PROBES, partitions // _LEAST_SHARE), partitions)


def _as_fields(manifest: Manifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__dataclass_fields__}


def _write_binding(
    lance: Any,
    place: Place,
    manifest: Manifest,
    text_encoder: bytes,
    version: int,
    probes: int,
    row_files: Mapping[str, Mapping[str, Any]],
) -> None:
    """Name the new rows the store's, which is what makes it a new one; then remove the old ones."""
    import pyarrow as pa

    values = {**asdict(manifest), "model": to_mapping(manifest.model)}
    row = pa.table(
        {
            MANIFEST: pa.array([json.dumps(values)], pa.large_string()),
            TEXT_ENCODER: pa.array([text_encoder], pa.large_binary()),
            VERSION: pa.array([version], pa.int64()),
            PROBES: pa.array([probes], pa.int64()),
            ROW_FILES: pa.array([json.dumps(row_files)], pa.large_string()),
        }
    )
    with telling_unwritten(place.text):
        binding = lance.write_dataset(row, place.name_table(INDEX_TABLE), mode="overwrite")
        for table in (binding, lance.dataset(place.name_table(ROWS_TABLE), version=version)):
            table.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
