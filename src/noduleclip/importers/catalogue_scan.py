"""Reading the headers of a folder of DICOM in processes, with a cache of those that were read before."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError, RejectCode, make_encodable
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.files import Walk, walk_files
from noduleclip.importers.slice_columns import FILE_VERSION, MODALITY, PATH, POSITION, SLICE_COLUMNS, make_slice_frame
from noduleclip.importers.slice_rows import make_reject_row, read_slice_rows
from noduleclip.io.artefacts import replacing
from noduleclip.io.dicom.slice import no_warnings
from noduleclip.io.disk import require_space
from noduleclip.io.job_pool import WorkerCrashed, run_jobs
from noduleclip.io.volumes.formats import VOLUME_SUFFIXES

_OTHER_SUFFIXES: Final = frozenset(
    [
        *(".xml", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".toml", ".yaml", ".md", ".html", ".pdf", ".xls", ".xlsx"),
        *(".zip", ".gz", ".bz2", ".tar", ".tcia", *VOLUME_SUFFIXES, ".raw", ".zraw", ".npy", ".npz", ".png"),
        *(".svg", ".jpg", ".jpeg", ".db", ".sqlite", ".parquet", ".py", ".ipynb", ".log", ".lock", ".part"),
    ]
)
_CATALOGUE: Final = "catalogue.parquet"
_PART: Final = "part-*.parquet"
_FILES_A_JOB: Final = 16
_ROW_BYTES: Final = 100  # of a file in a catalogue, at least
_FILES_A_PART: Final = 2_000
_LOST: Final = "it or one of its neighbours ends the process that reads it; leave the file out"
_MAY_PASS: Final = (RejectCode.UNREADABLE_FILE, RejectCode.MISSING_FILE)


def read_catalogue(
    root: Path,
    cache: Path,
    *,
    workers: int,
    max_pixels: int = MAX_PIXELS,
    is_left_out: Callable[[str], bool] = lambda _: False,
    needs_ct: bool = True,
    on_start: Callable[[int, int], Callable[[int], None]] = lambda _files, _known: lambda _: None,
) -> Catalogue:
    """Read the headers of all DICOM files below a folder.

    The rows are cached, so that a killed run goes on, and a later one reads new and changed files only.

    Args:
        root: The folder; links to folders are not followed, links to files are.
        cache: Folder of the cached rows.
        workers: Processes.
        max_pixels: Largest slice; bounds the memory that a broken file can take.
        is_left_out: Returns whether a folder is not part of the collection.
        needs_ct: Whether a folder without CT is refused.
        on_start: Called with the number of files to read and of those cached; returns the callback for files read.

    Raises:
        InputError: There is no such folder, or it has no CT slice.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of DICOM files")
    walk = Walk()
    found = _list_files(root, walk, is_left_out)
    known, lost = _load_cached(cache)
    fresh = found.join(known, on=FILE_VERSION, how="anti", maintain_order="left")
    require_space(cache, _ROW_BYTES * (fresh.height + found.height))  # in parts, and whole
    on_files = on_start(fresh.height, found.height - fresh.height)
    parts = _CacheParts(cache)
    try:
        for rows in _read_jobs(fresh, lost, workers, max_pixels, on_files):
            parts.add(rows)
    finally:
        parts.close()
    table = (
        pl.concat([known, *parts.frames])
        .join(found, on=FILE_VERSION, how="semi")
        .sort(schema.SERIES_UID, PATH, schema.FRAME, nulls_last=True)
    )
    if fresh.height or table.height != known.height:
        _write_rows(cache / _CATALOGUE, table)
        for path in cache.glob(_PART):
            path.unlink()
    closed = [make_reject_row((make_encodable(str(one.path)), 0, 0), one.code, one.reason) for one in walk.rejected]
    return _sort_out(root, pl.concat([table, make_slice_frame(closed)]), walk.hint, needs_ct=needs_ct)


def _sort_out(root: Path, table: pl.DataFrame, hint: str, *, needs_ct: bool) -> Catalogue:
    is_dicom, is_refused = pl.col(MODALITY).is_not_null(), pl.col(schema.REJECT_CODE).is_not_null()
    ct = table.filter(is_dicom & ~is_refused & (pl.col(MODALITY) == "CT"))
    slices = _drop_copies(ct)
    clashes = _find_clashes(ct, slices)
    rejects = pl.concat([table.filter(is_refused), clashes])
    if slices.height == 0 and needs_ct:
        refused = f"; {rejects.height:,} cannot be used, first: {rejects[0, schema.REJECT_REASON]}"
        raise InputError(
            f"{root}: no CT slice among {table[PATH].n_unique():,} files; name the folder that holds the DICOM of the "
            f"series{hint}{refused if rejects.height else ''}"
        )
    not_ct = table.filter(is_dicom & ~is_refused & (pl.col(MODALITY) != "CT"))
    others = _drop_copies(not_ct)
    copies = pl.concat([ct, not_ct])[PATH].n_unique() - pl.concat([slices, others])[PATH].n_unique() - clashes.height
    return Catalogue(root, slices, others, rejects, copies, table.height - ct.height - not_ct.height - rejects.height)


def _drop_copies(files: pl.DataFrame) -> pl.DataFrame:
    """Keep the first of the files with one SOP Instance UID; those without any are all kept."""
    name = pl.when(pl.col(schema.SOP_UID) != "").then(schema.SOP_UID).otherwise(PATH)
    return files.filter(name.is_first_distinct())


def _find_clashes(files: pl.DataFrame, slices: pl.DataFrame) -> pl.DataFrame:
    """Return the files whose SOP Instance UID is that of another image, as rejects: they are no copies of it."""
    identity = (schema.SERIES_UID, schema.PATIENT_ID, *POSITION)
    both = files.join(slices.select(schema.SOP_UID, PATH, *identity), on=schema.SOP_UID, suffix="_of_first")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_of_first")) for name in identity)
    reason = pl.format(
        "{}: has the SOP Instance UID of another image, {}; leave one of them out", PATH, f"{PATH}_of_first"
    )
    rejected = both.filter(differs).unique(PATH, maintain_order=True)
    return rejected.with_columns(
        pl.lit(str(RejectCode.BAD_HEADER)).alias(schema.REJECT_CODE), reason.alias(schema.REJECT_REASON)
    ).select(files.columns)


def _list_files(root: Path, walk: Walk, is_left_out: Callable[[str], bool]) -> pl.DataFrame:
    """List the files that may be DICOM, in the order of their paths; hidden ones and known others are left out."""
    rows: list[tuple[str, int, int]] = []
    for entry in walk_files(root.absolute(), walk, lambda folder: walk.can_name(folder) and not is_left_out(folder)):
        if _is_other(entry.name):
            continue
        try:
            if entry.is_file() and walk.can_name(entry.path):
                status = entry.stat()
                rows.append((entry.path, status.st_size, status.st_mtime_ns))
        except OSError as error:
            walk.add_error(entry.path, error)
    names = {name: SLICE_COLUMNS[name] for name in FILE_VERSION}
    return pl.DataFrame(sorted(rows), schema=names, orient="row")


def _is_other(name: str) -> bool:
    return Path(name).suffix.lower() in _OTHER_SUFFIXES or name.upper() in ("LICENSE", "README", "DICOMDIR")


def _load_cached(cache: Path) -> tuple[pl.DataFrame, set[str]]:
    """Return the rows of earlier runs, some of which may have been killed, and the paths that ended a process.

    Files whose rejection may pass without a change of the file (permissions, a failing disk) are read again.
    """
    frames = [pl.DataFrame(schema=SLICE_COLUMNS)]
    for path in (*sorted(cache.glob(_PART)), cache / _CATALOGUE):
        try:
            frame = pl.read_parquet(path, glob=False)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            continue  # not there or broken: its files are read again
        if frame.schema == pl.Schema(SLICE_COLUMNS):
            frames.append(frame)
    cached = pl.concat(frames)
    lost = set(cached.filter(pl.col(schema.REJECT_REASON).str.ends_with(_LOST))[PATH])
    lasting = cached.filter(~pl.col(schema.REJECT_CODE).is_in(_MAY_PASS).fill_null(value=False))
    return lasting.unique([*FILE_VERSION, schema.FRAME], keep="first", maintain_order=True), lost


class _CacheParts:
    """Writes rows to the cache in parts, so that the next run has those of a run that was killed.

    Attributes:
        frames: The parts so far.
    """

    def __init__(self, cache: Path) -> None:
        self.frames: list[pl.DataFrame] = []
        self._cache = cache
        numbers = (int(path.stem[5:]) for path in cache.glob(_PART) if path.stem[5:].isdecimal())
        self._number = 1 + max(numbers, default=0)
        self._waiting: list[dict[str, Any]] = []

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows, and write a part when there are enough of them."""
        self._waiting += rows
        if len(self._waiting) >= _FILES_A_PART:
            self.close()

    def close(self) -> None:
        """Write the rows that were added since the last part."""
        if not self._waiting:
            return
        frame = make_slice_frame(self._waiting)
        # Not flushed: a part that is lost with the power is read again.
        _write_rows(self._cache / _PART.replace("*", f"{self._number:05}"), frame, flush=False)
        self.frames.append(frame)
        self._number += 1
        self._waiting = []


def _write_rows(path: Path, frame: pl.DataFrame, *, flush: bool = True) -> None:
    with replacing(path, flush=flush) as temporary:
        frame.write_parquet(temporary)


def _read_jobs(
    files: pl.DataFrame, lost: Collection[str], workers: int, max_pixels: int, on_files: Callable[[int], None]
) -> Iterator[list[dict[str, Any]]]:
    """Read files; those that ended a process earlier are read one by one in a process of their own."""
    rows: list[tuple[str, int, int]] = [file for file in files.rows() if file[0] not in lost]
    jobs = [tuple(rows[start : start + _FILES_A_JOB]) for start in range(0, len(rows), _FILES_A_JOB)]
    alone = [(file,) for file in files.rows() if file[0] in lost]
    work = functools.partial(_read_files, max_pixels)
    for job, read in run_jobs(work, [*jobs, *alone], workers, apart=bool(alone)):
        if isinstance(read, WorkerCrashed):
            read = [make_reject_row(file, RejectCode.UNREADABLE_FILE, f"{file[0]}: {_LOST}") for file in job]
        yield read
        on_files(len(job))


@no_warnings()
def _read_files(max_pixels: int, files: Iterable[tuple[str, int, int]]) -> list[dict[str, Any]]:
    return [row for file in files for row in read_slice_rows(file, max_pixels)]
