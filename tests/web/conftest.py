"""The explorer over an index in a folder: as an application in this process, and as the command that listens."""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from starlette.testclient import TestClient

from noduleclip import schema
from noduleclip.engine.embed import write_index_files
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import choose_slice_folders, remember_index
from noduleclip.web.app import Opened
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
