"""Chunks: embeddings of a run of rows each, kept in files from which an interrupted run continues.

Chunks and their batches count all rows of the table, unusable ones too, so that the embedding of a row does not depend
on how the table was divided.
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


def open_chunks(folder: Path, image: Encoder, cache: CropCache, bs: int) -> Path:
    """Keep the chunks of an earlier run with the same crops, image encoder and batch size; remove all others.

    Raises:
        UsageError: The folder is a link, or holds other files.
    """
    refuse_foreign_chunks(folder)
    facts = [image.model_id, image.views, image.precision, cache.fingerprint(), bs]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
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
    """Return the embeddings of a chunk from its file, or encode them and write the file.

    Args:
        folder: Folder of the chunks.
        chunk: Rows of the table.
        rejected: Rows of the table without a crop.
        cache: Crops, filled.
        image: The image encoder.
        bs: Rows of the table in a forward pass.
        on_rows: Called with the rows embedded since the last call.
        first_row: Row of the table that is the first of the cache.

    Returns:
        (n, D) unit vectors of the n rows that are not rejected, in order.
    """
    path = folder / f"{chunk.start}.npy"
    batches = [
        [row - first_row for row in chunk[start : start + bs] if row not in rejected]
        for start in range(0, len(chunk), bs)
    ]
    kept = sum(map(len, batches))
    with contextlib.suppress(OSError, ValueError, EOFError):  # missing or damaged: encoded again
        found = np.asarray(np.load(path, allow_pickle=False), "<f4")
        if found.shape == (kept, image.config.emb):
            on_rows(kept)
            return found
    encoded = np.empty((kept, image.config.emb), "<f4")
    done = 0
    for batch in batches:
        if batch:
            encoded[done : done + len(batch)] = image.encode(cache.read(batch))
            done += len(batch)
            on_rows(len(batch))
    with replacing(path, size_bytes=encoded.nbytes) as temporary, temporary.open("wb") as file:
        np.save(file, encoded)
    return encoded
