"""The explorer over an index in a folder: as an application in this process, and as the command that listens."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from starlette.testclient import TestClient

from noduleclip import schema
from noduleclip.io.index.folder_writer import write_index_files
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import choose_slice_folders, remember_index
from noduleclip.web.opened import Opened
from noduleclip.web.serving import ServeOptions, make_guarded_app

HERE = "http://127.0.0.1:8765"


def open_served(index: Path | str, roots: tuple[Path, ...] = ()) -> Opened:
    opened = open_index(index)
    return Opened(opened, choose_slice_folders(opened, roots))


def open_client(
    index: Path | str, *, token: str | None = None, roots: tuple[Path, ...] = (), host: str = HERE
) -> TestClient:
    """A browser before the guarded application of an index."""
    options = ServeOptions("127.0.0.1", 0, token, ())
    app = make_guarded_app(open_served(index, roots), lambda: open_served(index, roots), options)
    return TestClient(app, base_url=host, follow_redirects=False)


@contextlib.contextmanager
def serving(index: Path | str, *options: object) -> Iterator[int]:
    """Run `noduleclip serve`; gives the port."""
    command = [sys.executable, "-m", "noduleclip", "serve", "--emb-dir", str(index), "--port", "0", *map(str, options)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert server.stderr is not None
    lines = []
    try:
        for line in server.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                yield int(found.group(1))
                return
        raise AssertionError(lines)
    finally:
        server.terminate()
        server.communicate()


def write_generation(source: Path, out: Path, name: str, *, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Write an index into a folder as `embed --overwrite` does: rows of another index, of other patients.

    Args:
        source: The index that the rows and their embeddings come from.
        out: Folder of the new one; one that is there is replaced.
        name: What patients are called in it.
        change: Changes the order of the rows, or leaves some out.
    """
    opened = open_index(source)
    meta = opened.read_rows(np.arange(opened.manifest.rows))
    changed = change(meta)
    rows = changed[schema.ROW].to_numpy()
    frame = changed.drop(schema.ROW).with_columns(pl.format(f"{name}-{{}}", schema.PATIENT_ID).alias(schema.PATIENT_ID))
    outlines = opened.read_outlines(rows)
    out.mkdir(parents=True, exist_ok=True)
    write_index_files(
        out,
        meta=frame,
        outlines=pl.DataFrame({schema.POINTS_JSON: outlines}, schema={schema.POINTS_JSON: pl.String}),
        vectors=[np.asarray(opened.embeddings)[rows]],
        text_file=source / schema.TEXT_TOWER,
        manifest=replace(opened.manifest, rows=len(rows), files={}),
    )
    remember_index(open_index(out))


def copy_index(source: Path, out: Path) -> Path:
    shutil.copytree(source, out)
    return out


ESTIMATES = {
    schema.ESTIMATED_DIAMETER: 9.44, schema.ESTIMATED_LOW: 8.1, schema.ESTIMATED_HIGH: 10.8,
    "estimated_texture": 5.0, "probability_texture_5": 0.9, "probability_solid": 0.93,
    schema.DESCRIPTION: "about 9.4 mm (8.1-10.8), solid",
}  # fmt: skip
READERS = {schema.READERS: 2.0, schema.SLICES: 3.0, schema.READER_DIAMETERS: [8.0, 10.0], "reader_texture": [5.0, 4.0]}


def draw_circle(radius_px: float) -> list[list[float]]:
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = np.column_stack([40 + radius_px * np.cos(angles), 50 + radius_px * np.sin(angles)])
    return [[round(x, 2), round(y, 2)] for x, y in points.tolist()]


def write_nodules(source: Path, out: Path, outlined: Sequence[Path | str], **values: Any) -> Path:
    """Write an index of one nodule, outlined by two readers on some slices; the second slice is the embedded one."""
    opened = open_index(source)
    row = opened.read_rows([0]).row(0, named=True)
    row = {name: value for name, value in row.items() if name != schema.ROW and not isinstance(value, list)}
    row |= {schema.DICOM_PATH: str(outlined[1]), **ESTIMATES, **READERS, **values}
    slices = [
        {schema.DICOM_PATH: str(path), schema.FRAME: None, schema.Z_MM: float(at),
         "outlines": [draw_circle(5 + at), draw_circle(7 + at)]}
        for at, path in enumerate(outlined)
    ]  # fmt: skip
    numbers = {name: pl.Float64 for name, value in row.items() if name == schema.DIAMETER_MM or isinstance(value, int)}
    write_index_files(
        out,
        meta=pl.DataFrame([row]).cast(dict(numbers)),  # type: ignore[arg-type]
        outlines=pl.DataFrame({schema.POINTS_JSON: [json.dumps(slices)]}),
        vectors=[np.asarray(opened.embeddings[0:1])],
        text_file=source / schema.TEXT_TOWER,
        manifest=replace(opened.manifest, rows=1, files={}, unit="nodule"),
    )
    remember_index(open_index(out))
    return out
