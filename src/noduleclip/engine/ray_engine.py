"""Embedding with Ray: a pool of actors on this machine or a cluster encodes chunks in any order.

The chunks (`engine.chunks`) lie on storage that all actors share. A chunk whose worker or node dies is encoded by
another.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.engine.chunks import embed_chunk, list_chunks
from noduleclip.engine.embed import select_meta
from noduleclip.engine.encoders import Encoders, open_encoders
from noduleclip.errors import InputError, RejectCode, UsageError
from noduleclip.io.artefacts import replacing, write_text
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.index.lance_tables import parse_place
from noduleclip.io.index.lance_writer import write_fragment
from noduleclip.io.slice_crops import CutSettings, Reject
from noduleclip.machine import install_command
from noduleclip.retrieval.estimate_columns import estimate_columns

LOCAL: Final = "local"
_ROWS_FILE: Final = "rows.parquet"
_START, _STOP, _FIRST, _DONE, _FRAGMENTS = "start", "stop", "first", "done", "fragments"
_CHUNKS_PER_FRAGMENT: Final = 64
_MOST_RETRIES: Final = 10  # nodes may be lost, but an item that ends every worker must not run for ever
_ANSWER_SECONDS: Final = 5


@dataclass(frozen=True)
class ChunkWork:
    """Settings of an actor; all paths are on storage that it shares.

    Attributes:
        chunks: Folder of the chunks.
        cache: Folder of crops and exported encoders.
        checkpoint: The model.
        device: Device of the image encoder.
        settings: How crops are cut.
        bs: Rows in a forward pass.
        views: Views of a crop to average.
        precision: Arithmetic of the image encoder, the same on all machines.
    """

    chunks: Path
    cache: Path
    checkpoint: Path
    device: str
    settings: CutSettings
    bs: int
    views: int
    precision: str


def _open_encoders(work: ChunkWork) -> Encoders:
    return open_encoders(work.checkpoint, work.cache, work.device, views=work.views, precision=work.precision)


class ChunkWorker:
    """Actor that opens the encoders once and encodes chunks into files."""

    def __init__(self, work: ChunkWork) -> None:
        self._work = work
        self._encoders = _open_encoders(work)
        self._rows = pl.read_parquet(work.chunks / _ROWS_FILE, glob=False)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[int]]:
        """Encode the chunks that start at the rows of a batch."""
        chunks = {chunk.start: chunk for chunk in list_chunks(self._rows.height)}
        counts = [self._encode(chunks[int(start)]) for start in batch[_START]]
        return {_START: [int(start) for start in batch[_START]], _DONE: counts}

    def _encode(self, chunk: range) -> int:
        work = self._work
        cache = CropCache(work.cache, self._rows[chunk.start : chunk.stop], work.settings)
        begun = work.chunks / f"{chunk.start}.begun"
        apart = begun.exists()  # an earlier worker died here, perhaps of one of the slices
        begun.touch()
        cache.fill(1, apart=apart)
        begun.unlink(missing_ok=True)
        rejects = [Reject(chunk.start + one.row, one.code, one.reason) for one in cache.rejects]
        rejected = {one.row for one in rejects}
        embed_chunk(work.chunks, chunk, rejected, cache, self._encoders.image, work.bs, first_row=chunk.start)
        write_text(_name_rejects(work.chunks, chunk.start), json.dumps([asdict(one) for one in rejects]))
        return len(chunk)


def embed_with_ray(
    frame: pl.DataFrame,
    work: ChunkWork,
    *,
    address: str,
    workers: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> list[Reject]:
    """Encode all chunks of a table that have no file yet.

    Args:
        frame: Checked ROI rows.
        work: Settings of the actors; `open_chunks` prepared its folder.
        address: "local", "auto", or the address of a cluster.
        workers: Number of actors, one core each.
        on_rows: Called with the rows of the table done since the last call.

    Returns:
        The rows without a crop, in order.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
        InputError: Ray ended with an error.
    """
    with replacing(work.chunks / _ROWS_FILE) as temporary:
        frame.write_parquet(temporary)
    chunks = list_chunks(frame.height)
    waiting = [chunk for chunk in chunks if not _name_rejects(work.chunks, chunk.start).exists()]
    on_rows(sum(map(len, chunks)) - sum(map(len, waiting)))
    if waiting:
        items = [{_START: chunk.start} for chunk in waiting]
        for row in _map(ChunkWorker, (work,), items, work, address, workers):
            on_rows(int(row[_DONE]))
    return [reject for chunk in chunks for reject in _read_rejects(work.chunks, chunk.start)]


class FragmentWriter:
    """Actor that writes finished chunks as fragments of a Lance store, which are not bound to its table yet."""

    def __init__(self, work: ChunkWork, store: str, keep: tuple[str, ...]) -> None:
        self._work, self._place, self._keep = work, parse_place(store), keep
        self._rows = pl.read_parquet(work.chunks / _ROWS_FILE, glob=False)
        self._estimator = _open_encoders(work).open_estimator()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Write the runs of chunks of a batch, and return their fragments as JSON."""
        runs = zip(batch[_START], batch[_STOP], batch[_FIRST], strict=True)
        return {_START: list(batch[_START]), _FRAGMENTS: [self._write(*map(int, run)) for run in runs]}

    def _write(self, start: int, stop: int, first: int) -> str:
        chunks = [chunk for chunk in list_chunks(self._rows.height) if start <= chunk.start < stop]
        rejected = {one.row for chunk in chunks for one in _read_rejects(self._work.chunks, chunk.start)}
        part = self._rows[[row for row in range(start, stop) if row not in rejected]]
        vectors = [np.load(self._work.chunks / f"{chunk.start}.npy", allow_pickle=False) for chunk in chunks]
        meta = select_meta(part, self._keep).hstack(estimate_columns(self._estimator, vectors))
        outlines = part[schema.POINTS_JSON] if schema.POINTS_JSON in part.columns else None
        return json.dumps(write_fragment(self._place, first, vectors, meta, outlines))


def write_fragments_with_ray(
    rows: int,
    work: ChunkWork,
    store: str,
    keep: tuple[str, ...],
    *,
    address: str,
    workers: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Write all chunks into a Lance store from the actors, without copying them through this process.

    Args:
        rows: Rows of the table.
        work: As in `embed_with_ray`, which encoded all chunks.
        store: Address of the store, which every actor can reach.
        keep: Further columns to keep in the metadata.
        address: As in `embed_with_ray`.
        workers: Number of actors.
        on_rows: Called with the rows of the table written since the last call.

    Returns:
        The fragments in the order of their rows, for `lance_writer.bind_fragments`.

    Raises:
        UsageError: As in `embed_with_ray`.
        InputError: Ray ended with an error.
    """
    items, first = [], 0
    chunks = list_chunks(rows)
    for at in range(0, len(chunks), _CHUNKS_PER_FRAGMENT):
        run = chunks[at : at + _CHUNKS_PER_FRAGMENT]
        kept = sum(map(len, run)) - sum(len(_read_rejects(work.chunks, chunk.start)) for chunk in run)
        if kept:
            items.append({_START: run[0].start, _STOP: run[-1].stop, _FIRST: first})
        first += kept
    found: dict[int, list[str]] = {}
    lengths = {item[_START]: item[_STOP] - item[_START] for item in items}
    for row in _map(FragmentWriter, (work, store, keep), items, work, address, workers):
        found[int(row[_START])] = json.loads(row[_FRAGMENTS])
        on_rows(lengths[int(row[_START])])
    return [fragment for start in sorted(found) for fragment in found[start]]


def _map(
    actor: type,
    arguments: tuple[object, ...],
    items: Sequence[dict[str, int]],
    work: ChunkWork,
    address: str,
    workers: int,
) -> Iterator[dict[str, Any]]:
    """Run a pool of actors over items, one at a time each, and yield their results in any order."""
    with (
        contextlib.redirect_stdout(sys.stderr),
        _session(address, workers) as ray,
    ):  # Ray reports a dead worker on stdout
        try:
            done = ray.data.from_items(list(items), override_num_blocks=len(items)).map_batches(
                actor,
                fn_constructor_args=arguments,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
                num_cpus=1,
                max_restarts=-1,
                max_task_retries=_MOST_RETRIES,
            )
            yield from done.iter_rows()
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[-300:]
            remedy = "the same command continues from the finished chunks"
            raise InputError(f"{work.chunks}: Ray gave up ({reason}); {remedy}") from error


@contextlib.contextmanager
def _session(address: str, workers: int) -> Iterator[Any]:
    """Start Ray on this machine, or connect to a cluster, while the block runs."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] != "ray":  # Ray is installed, one of its dependencies is not
            raise UsageError(f"--engine ray: Ray needs {error.name}: {install_command('ray')}") from error
        raise UsageError(f"--engine ray needs Ray: {install_command('ray')}") from error
    _check_cluster(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address == LOCAL:
        quiet |= {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(_explain_start(address, error)) from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield ray
    finally:
        ray.shutdown()


def _check_cluster(address: str) -> None:
    """Refuse an address without a listener: Ray would wait there for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray-address {address}: no cluster answers there ({error})") from error


def _explain_start(address: str, error: Exception) -> str:
    if "AF_UNIX" in str(error):
        folder = os.environ.get("RAY_TMPDIR", tempfile.gettempdir())
        return f"{folder}: is too long a name for Ray's sockets; give it a shorter folder with RAY_TMPDIR=/tmp"
    if address == LOCAL:
        return f"Ray does not start on this machine ({error})"
    return f"--ray-address {address}: no cluster answers there ({error})"


def _name_rejects(folder: Path, start: int) -> Path:
    return folder / f"{start}.json"


def _read_rejects(folder: Path, start: int) -> list[Reject]:
    listed = json.loads(_name_rejects(folder, start).read_text(encoding="utf-8"))
    return [Reject(one["row"], RejectCode(one["code"]), one["reason"]) for one in listed]
