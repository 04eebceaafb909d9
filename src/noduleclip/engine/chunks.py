"""Embeddings in chunks: the rows of a table, so many at a time, each chunk a file that a later run can go on from.

Chunks and the batches in them are cut by rows of the table, whether these can be used or not: what a row becomes does
not depend on where the table was divided.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.engine.encoders import Encoder
from noduleclip.io.artefacts import replacing, write_text
from noduleclip.io.chunk_files import KEY_FILE, read_key, refuse_foreign_chunks, remove_chunks
from noduleclip.io.crop_cache import CropCache

CHUNK_ROWS: Final = 1024
CHUNKS_FOLDER: Final = schema.CHUNKS_FOLDER


def list_chunks(rows: int) -> list[range]:
    """Return the rows of each chunk of a table."""
    return [range(start, min(start + CHUNK_ROWS, rows)) for start in range(0, rows, CHUNK_ROWS)]


def open_chunks(folder: Path, model_id: str, cache: CropCache, bs: int) -> Path:
    """Keep the chunks of an earlier run that embedded the same crops with the same model; drop all others.

    Raises:
        UsageError: The folder is a link, or holds what no run wrote there.
    """
    refuse_foreign_chunks(folder)
    key = hashlib.sha256(json.dumps([model_id, cache.fingerprint(), bs]).encode()).hexdigest()
    if read_key(folder) != key:
        remove_chunks(folder)
        write_text(folder / KEY_FILE, key)
    return folder


def embed_chunk(
    folder: Path,
    chunk: range,
    rejected: Collection[int],
    cache: CropCache,
    image: Encoder,
    bs: int,
    on_rows: Callable[[int], None] = lambda _: None,
    first_row: int = 0,
) -> NDArray[np.float32]:
    """Return the embeddings of a chunk, from its file if it is there; otherwise make them and the file.

    Args:
        folder: Where chunks are kept.
        chunk: Rows of the table.
        rejected: Rows of the table that have no crop.
        cache: Crops, filled.
        image: The image encoder.
        bs: Rows of the table in a forward pass.
        on_rows: Called with the rows embedded since the last call.
        first_row: Row of the table that is the cache's first.

    Returns:
        (n, D) unit rows of the chunk's n rows that are not rejected, in order.
    """
    path = folder / f"{chunk.start}.npy"
    batches = [
        [row - first_row for row in chunk[start : start + bs] if row not in rejected]
        for start in range(0, len(chunk), bs)
    ]
    kept = sum(map(len, batches))
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or no array: it is made again
        found = np.asarray(np.load(path, allow_pickle=False), "<f4")
        if found.shape == (kept, image.config.emb):
            on_rows(kept)
            return found
    made = np.empty((kept, image.config.emb), "<f4")
    done = 0
    for batch in batches:
        if batch:
            made[done : done + len(batch)] = image.encode(cache.read(batch))
            done += len(batch)
            on_rows(len(batch))
    with replacing(path, size_bytes=made.nbytes) as temporary, temporary.open("wb") as file:
        np.save(file, made)
    return made
