"""Time and memory of collapsing a table of outlines to a row per nodule.

Usage: python benchmarks/consensus.py [ROWS]
"""

import json
import resource
import sys
import time

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.io.consensus import collapse_nodules

_READERS, _SLICES, _POINTS = 3, 6, 40
_MB = 1 << 10


def make_table(rows: int) -> pl.DataFrame:
    """Return outlines of nodules by three readers on six slices each."""
    random = np.random.default_rng(0)
    number = np.arange(rows)
    nodule, slice_number, reader = number // (_READERS * _SLICES), number // _READERS % _SLICES, number % _READERS
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    circle = np.stack([200 + 8 * np.cos(angles), 210 + 8 * np.sin(angles)], axis=1).round().astype(int).tolist()
    left, top = random.integers(50, 400, (2, rows))
    size = random.integers(4, 30, rows)
    return pl.DataFrame(
        {
            schema.CSV_ROW: number + 1,
            schema.PATIENT_ID: np.char.add("P", (nodule // 3).astype(str)),
            schema.NODULE_ID: nodule.astype(str),
            schema.DICOM_PATH: np.char.add(np.char.add(nodule.astype(str), "/"), slice_number.astype(str)),
            schema.READER: reader.astype(str),
            schema.Z_MM: slice_number * 1.25,
            schema.DIAMETER_MM: random.uniform(3, 30, rows),
            schema.BBOX_XMIN: left * 1.0,
            schema.BBOX_YMIN: top * 1.0,
            schema.BBOX_XMAX: (left + size) * 1.0,
            schema.BBOX_YMAX: (top + size) * 1.0,
            schema.CENTER_X: left + size / 2,
            schema.CENTER_Y: top + size / 2,
            **{name: random.integers(1, 6, rows) * 1.0 for name in schema.RATING_COLUMNS},
            schema.POINTS_JSON: pl.repeat(json.dumps(circle), rows, eager=True),
        }
    )


def measure_mb() -> int:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _MB


def main() -> None:
    """Print what a table of so many rows takes."""
    frame = make_table(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    before = measure_mb()
    started = time.perf_counter()
    nodules = collapse_nodules(frame)
    seconds = time.perf_counter() - started
    print(
        f"{frame.height:,} rows ({frame.estimated_size('mb'):,.0f} MB) to {nodules.height:,} nodules: {seconds:.1f} s"
    )
    print(f"memory {before:,} MB before, {measure_mb():,} MB at most")


if __name__ == "__main__":
    main()
