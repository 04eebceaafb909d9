"""Pieces of an index made by Ray: a pool of actors on this machine or a cluster, each with the towers open.

The pieces are those of one process (`engine.pieces`), made in any order and kept on storage that all actors see; one
whose worker or node dies is made by another.
"""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
from numpy.typing import NDArray

from noduleclip.engine.pieces import embed_piece, list_pieces
from noduleclip.engine.towers import open_towers
from noduleclip.errors import InputError, RejectCode, UsageError
from noduleclip.io.artefacts import replacing, write_text
from noduleclip.io.crop_cache import CropCache, CutSettings, Reject

LOCAL: Final = "local"
_ROWS_FILE: Final = "rows.parquet"
_START, _DONE = "start", "done"


@dataclass(frozen=True)
class PieceWork:
    """What an actor needs to know; all of it on storage that it sees.

    Attributes:
        pieces: Folder of the pieces.
        cache: Folder of crops and exported towers.
        checkpoint: The model.
        device: Where the image tower runs.
        settings: What decides the crops.
        bs: Rows in a forward pass.
    """

    pieces: Path
    cache: Path
    checkpoint: Path
    device: str
    settings: CutSettings
    bs: int


class PieceWorker:
    """An actor: opens the towers once, then makes pieces. Its files are the result."""

    def __init__(self, work: PieceWork) -> None:
        self._work = work
        self._towers = open_towers(work.checkpoint, work.cache, work.device)
        self._rows = pl.read_parquet(work.pieces / _ROWS_FILE, glob=False)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[int]]:
        """Make the pieces that begin at the rows of a batch."""
        pieces = {piece.start: piece for piece in list_pieces(self._rows.height)}
        counts = [self._make(pieces[int(start)]) for start in batch[_START]]
        return {_START: [int(start) for start in batch[_START]], _DONE: counts}

    def _make(self, piece: range) -> int:
        work = self._work
        cache = CropCache(work.cache, self._rows[piece.start : piece.stop], work.settings)
        cache.fill(1)
        rejects = [Reject(piece.start + one.row, one.code, one.reason) for one in cache.rejects]
        rejected = {one.row for one in rejects}
        embed_piece(work.pieces, piece, rejected, cache, self._towers.image, work.bs, first_row=piece.start)
        write_text(_name_rejects(work.pieces, piece.start), json.dumps([asdict(one) for one in rejects]))
        return len(piece)


def embed_with_ray(
    frame: pl.DataFrame,
    work: PieceWork,
    *,
    address: str,
    workers: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> list[Reject]:
    """Make all pieces of a table that are not there yet.

    Args:
        frame: Checked ROI rows.
        work: What the actors need; `work.pieces` is open.
        address: "local", "auto", or that of a cluster.
        workers: Actors, a core each.
        on_rows: Called with the rows of the table done since the last call.

    Returns:
        The rows that have no crop, by row.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
        InputError: Ray gave up.
    """
    with replacing(work.pieces / _ROWS_FILE) as temporary:
        frame.write_parquet(temporary)
    pieces = list_pieces(frame.height)
    waiting = [piece for piece in pieces if not _name_rejects(work.pieces, piece.start).exists()]
    on_rows(sum(map(len, pieces)) - sum(map(len, waiting)))
    if waiting:
        with contextlib.redirect_stdout(sys.stderr):  # where Ray says that a worker died
            _run(waiting, work, address, min(workers, len(waiting)), on_rows)
    return [reject for piece in pieces for reject in _read_rejects(work.pieces, piece.start)]


def _run(waiting: Sequence[range], work: PieceWork, address: str, workers: int, on_rows: Callable[[int], None]) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it tells nobody what it is used for
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("--engine ray needs Ray; install it with pip install 'noduleclip[ray]'") from error
    try:
        if address == LOCAL:
            ray.init(
                address=LOCAL, num_cpus=workers, include_dashboard=False, log_to_driver=False,
                logging_level=logging.ERROR, configure_logging=False,
            )  # fmt: skip
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray-address {address}: no cluster answers there ({error})") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        starts = ray.data.from_items([{_START: piece.start} for piece in waiting], override_num_blocks=len(waiting))
        done = starts.map_batches(
            PieceWorker,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for row in done.iter_rows():
            on_rows(int(row[_DONE]))
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[-300:]
        remedy = "the same command goes on from what is done"
        raise InputError(f"{work.pieces}: Ray gave up ({reason}); {remedy}") from error
    finally:
        ray.shutdown()


def _name_rejects(folder: Path, start: int) -> Path:
    return folder / f"{start}.json"


def _read_rejects(folder: Path, start: int) -> list[Reject]:
    told = json.loads(_name_rejects(folder, start).read_text(encoding="utf-8"))
    return [Reject(one["row"], RejectCode(one["code"]), one["reason"]) for one in told]
