"""The pictures of hits, read from the slices that an index was made of."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Collection, Outcome, call
from noduleclip import schema
from noduleclip.cli.pictures import PictureOptions, read_pictures
from noduleclip.errors import SliceError
from noduleclip.io.index.open import open_index
from noduleclip.report.console import data_console, message_console
from noduleclip.workflows.pictures import NodulePictures


def test_each_hit_gets_its_picture_or_a_reason(index: Path, collection: Collection, tmp_path: Path) -> None:
    opened = open_index(index)
    hits = opened.read_rows([5, 2, 5])
    pictures = read_pictures(opened, hits, PictureOptions(), fov_mm=40, size_px=20)
    first, second, third = pictures
    assert isinstance(first, NodulePictures) and isinstance(second, NodulePictures)
    assert first is third
    assert first.picture.hu.shape == (20, 20)
    assert first.picture.mean_px and first.picture.mean_px != second.picture.mean_px
    root = PictureOptions(collection.roi_csv.parent)
    again = read_pictures(opened, hits, root, fov_mm=40, size_px=20)[1]
    assert isinstance(again, NodulePictures) and (again.picture.hu == second.picture.hu).all()
    (gone,) = read_pictures(opened, hits[:1], PictureOptions(tmp_path), fov_mm=40, size_px=20)
    assert isinstance(gone, SliceError)
    assert str(tmp_path) in str(gone)


@pytest.mark.parametrize("pictures", [("--preview",), ("--html", "hits.html"), ("--contact-sheet", "hits.png")])
def test_a_root_that_is_no_folder_is_told(index: Path, tmp_path: Path, pictures: tuple[str, ...]) -> None:
    files = [tmp_path / name for name in pictures[1:]]
    arguments = ("query", "--emb-dir", index, "--query", "> 6 mm", pictures[0], *files)
    done = call(*arguments, "--dicom-root", tmp_path / "none")
    assert done.code == 2
    assert f"--dicom-root {tmp_path / 'none'}: no such folder" in done.err
    assert not done.out and not any(file.exists() for file in files)


def test_a_row_without_a_place_is_a_reason(index: Path) -> None:
    opened = open_index(index)
    hits = opened.read_rows([1]).with_columns(pl.lit(None, pl.Float64).alias(schema.CENTER_X))
    (reason,) = read_pictures(opened, hits, PictureOptions(), fov_mm=40, size_px=20)
    assert isinstance(reason, SliceError)
    assert "row 1 of" in str(reason) and "has no box" in str(reason)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A terminal of so many columns with 24-bit colours, or with what else its variables say."""

    def start(columns: int, **variables: str) -> None:
        for name, value in {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "COLUMNS": str(columns), **variables}.items():
            monkeypatch.setenv(name, value)
        data_console.cache_clear()
        message_console.cache_clear()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    yield start
    monkeypatch.undo()
    data_console.cache_clear()
    message_console.cache_clear()


def without_styles(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def preview(index: Path, *more: object, command: str = "query") -> Outcome:
    done = call(command, "--emb-dir", index, "--query", "> 6 mm", "--topk", 3, "--preview", *more)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize(
    ("command", "columns", "width"),
    [("query", 54, 12), ("query", 58, 16), ("query", 80, 24), ("query", 150, 49), ("fuse", 48, 12), ("fuse", 150, 49)],
)
def test_each_hit_is_shown_in_half_blocks(
    index: Path, terminal: Callable[..., None], command: str, columns: int, width: int
) -> None:
    terminal(columns)
    lines = without_styles(preview(index, command=command).out).splitlines()
    assert max(map(len, lines)) <= columns
    rows = [line for line in lines if "▀" in line]
    assert len(rows) == 3 * min(width, 24) // 2
    assert all("▀" * width in row and row.count("▀") == width for row in rows)
    assert [line.split()[0] for line in rows if line.rstrip().endswith(".dcm")] == ["1", "2", "3"]


def test_the_pixels_are_those_of_the_slice(index: Path, terminal: Callable[..., None]) -> None:
    terminal(80)
    out = preview(index).out
    terminal(80)
    hits = pl.read_csv(call("query", "--emb-dir", index, "-q", "> 6 mm", "-k", 3, "--format", "csv").out.encode())
    opened = open_index(index)
    found = opened.read_rows(hits[schema.ROW].to_list())
    fov_mm = int(re.findall(r"lung, (\d+) mm", out)[0])
    (first, *_) = read_pictures(opened, found, PictureOptions(), fov_mm=fov_mm, size_px=24)
    assert isinstance(first, NodulePictures)
    colours = re.findall(r"\x1b\[38;2;([\d;]+);48;2;([\d;]+)m▀", out)[: 12 * 24]
    shown = np.array([[[*map(int, c.split(";"))] for c in pair] for pair in colours])  # cells, upper and lower, RGB
    rgb = shown.reshape(12, 24, 2, 3).swapaxes(1, 2).reshape(24, 24, 3)
    is_grey = (rgb.max(axis=2) == rgb.min(axis=2)) & (rgb[:, :, 0] < 255)
    assert 0.5 < is_grey.mean() < 1
    expected = np.clip((first.picture.hu + 1350) / 1500, 0, 1) * 255
    assert np.abs(rgb[:, :, 0] - expected)[is_grey].max() <= 1
    ys, xs = np.nonzero(rgb[:, :, 1] > rgb[:, :, 0] + 50)
    left, top, right, bottom = first.picture.box_px
    assert xs.min() >= left - 1 and xs.max() <= right + 1 and ys.min() >= top - 1 and ys.max() <= bottom + 1


def test_no_color_means_characters(index: Path, terminal: Callable[..., None]) -> None:
    terminal(80, NO_COLOR="1")
    out = preview(index).out
    assert not re.search(r"\x1b\[[\d;]*[34]\d", out)
    assert "▀" not in out
    assert len(re.findall(r"[ ░▒▓█]{6,}[░▒▓█]", out)) >= 12


def test_a_narrow_window_says_why_there_are_none(index: Path, terminal: Callable[..., None]) -> None:
    terminal(45)
    done = preview(index)
    assert "▀" not in done.out
    (needed,) = re.findall(r"45 columns has no room for pictures; (\d+) would do", without_styles(done.err))
    terminal(int(needed))
    assert "▀" in preview(index).out
    terminal(int(needed) - 1)
    assert "▀" not in preview(index).out


@pytest.mark.parametrize("form", [("--format", "csv"), ("--format", "json"), ("--paths-only",)])
def test_only_a_table_has_pictures(index: Path, terminal: Callable[..., None], form: tuple[str, ...]) -> None:
    terminal(80)
    done = preview(index, *form)
    assert "note: --preview shows pictures in a table on a terminal" in without_styles(done.err)
    assert done.out == call("query", "--emb-dir", index, "--query", "> 6 mm", "--topk", 3, *form).out


@pytest.mark.parametrize("form", ["auto", "table"])
def test_a_pipe_gets_no_pictures(index: Path, form: str) -> None:
    done = preview(index, "--format", form)
    assert "note: --preview shows pictures" in done.err
    assert done.out == call("query", "--emb-dir", index, "--query", "> 6 mm", "--topk", 3, "--format", form).out


def test_slices_that_cannot_be_read_are_counted(
    index: Path, collection: Collection, terminal: Callable[..., None], tmp_path: Path
) -> None:
    paths = call("query", "--emb-dir", index, "-q", "> 6 mm", "-k", 3, "--unique", "slice", "--paths-only").out
    _, second, third = paths.splitlines()
    for path in (second, third):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(collection.roi_csv.parent / path, tmp_path / path)
    terminal(80)
    done = preview(index, "--unique", "slice", "--dicom-root", tmp_path)
    assert re.search(r"1 of 3 pictures cannot be shown; first: .*: no such file", without_styles(done.err))
    lines = without_styles(done.out).splitlines()
    assert any(re.match(r"\s+1\s+-\s", line) for line in lines)
    assert sum("▀" in line for line in lines) == 24
    (tmp_path / second).unlink()
    (tmp_path / third).write_bytes(b"")
    done = preview(index, "--unique", "slice", "--dicom-root", tmp_path)
    assert "3 of 3 pictures cannot be shown" in without_styles(done.err)
    assert not any(re.match(r"\s+1\s+-\s", line) for line in without_styles(done.out).splitlines())


SIXELS = """
import fcntl, os, pty, select, struct, sys, termios
process, terminal = pty.fork()
if process == 0:
    os.execv(sys.executable, [sys.executable, "-m", "noduleclip", *sys.argv[2:]])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *map(int, sys.argv[1].split("x"))))
shown = b""
while select.select([terminal], [], [], 60)[0]:
    try:
        shown += (data := os.read(terminal, 1 << 16))
    except OSError:
        break
    if b"\\x1b[c" in data:
        os.write(terminal, b"\\x1b[?62;4c")
os.waitpid(process, 0)
print(shown.count(b"\\x1bP"), "▀".encode() in shown)
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("size", "shown"), [("50x80x800x1000", "2 False"), ("0x0x0x0", "0 True")])
def test_a_terminal_with_sixels_gets_pixels(index: Path, terminal: Callable[..., None], size: str, shown: str) -> None:
    pytest.importorskip("textual_image._terminal")  # the package itself; its renderables ask the terminal
    terminal(80)
    arguments = (size, "query", "--emb-dir", str(index), "-q", "> 6 mm", "-k", "2", "--preview")
    for unbuffered in ("", "1"):
        done = subprocess.run(
            [sys.executable, "-c", SIXELS, *arguments],
            capture_output=True, text=True, check=True, timeout=100, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
        assert done.stdout.strip() == shown
