"""An index of any number of rows, made of a small one's: `python benchmarks/large_index.py INDEX ROWS OUT`.

The rows repeat with a little noise on their unit vectors, so that there are no ties, and each
repetition is of other patients; the text encoder and the model stay.
"""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from noduleclip import schema
from noduleclip.io.artefacts import write_text
from noduleclip.io.index.folder import GROUP_ROWS, INDEX_FILES
from noduleclip.io.index.manifest import Manifest, describe_file, format_manifest
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import is_own_index, remember_index

_AT_ONCE = 1 << 18


def bind_files(folder: Path, like: Manifest, rows: int) -> None:
    """Write the manifest of a folder whose rows are of the same model as those of another index."""
    files = {name: describe_file(folder / name) for name in INDEX_FILES}
    write_text(folder / schema.INDEX_MANIFEST, format_manifest(dataclasses.replace(like, rows=rows, files=files)))


def make_large_index(source: Path, rows: int, out: Path) -> None:
    """Write an index of `rows` rows in pieces."""
    index = open_index(source)
    meta = index.scan().drop(schema.ROW).collect()
    small, generator = np.array(index.embeddings), np.random.default_rng(0)
    out.mkdir(parents=True)
    shutil.copy(source / schema.TEXT_TOWER, out)
    writer = None
    with (out / schema.EMBEDDINGS).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, small.shape[1])}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, _AT_ONCE):
            repetition, picked = np.divmod(np.arange(start, min(start + _AT_ONCE, rows)), len(small))
            patients = meta[schema.PATIENT_ID][picked.tolist()] + "-" + pl.Series(repetition).cast(pl.String)
            noise = generator.standard_normal((len(picked), small.shape[1]), dtype=np.float32)
            vectors = small[picked] + 0.02 * noise
            file.write((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tobytes())
            table = (
                meta[picked.tolist()]
                .with_columns(patients.alias(schema.PATIENT_ID), pl.Series(schema.CSV_ROW, picked + 1))
                .to_arrow()
            )
            writer = writer or pq.ParquetWriter(out / schema.META, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema), row_group_size=GROUP_ROWS[schema.META])
    assert writer is not None
    writer.close()
    bind_files(out, index.manifest, rows)
    if is_own_index(index):
        remember_index(open_index(out))


if __name__ == "__main__":
    make_large_index(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
