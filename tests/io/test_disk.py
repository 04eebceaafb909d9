"""A disk that cannot be written is told in one line that names the file, whichever library ran into it."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from conftest import mounted
from noduleclip.errors import OutputError
from noduleclip.io import disk
from noduleclip.io.artefacts import replacing, write_text
from noduleclip.io.disk import describe_bytes, measure_bytes, require_room, require_space, translate_write_errors
from noduleclip.io.output_folders import locking

NUMBERS = np.random.default_rng(0).random(100_000)
WRITERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(NUMBERS.tobytes()),
    "text": lambda path: path.write_text("a" * 800_000),
    "numpy": lambda path: _save(path),
    "torch": lambda path: torch.save({"a": torch.from_numpy(NUMBERS)}, path),
    "torch, small parts": lambda path: torch.save({str(part): torch.rand(999) for part in range(200)}, path),
    "csv": lambda path: pl.DataFrame({"a": NUMBERS}).write_csv(path),
    "parquet": lambda path: pl.DataFrame({"a": NUMBERS}).write_parquet(path),
}


def _save(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, NUMBERS)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    with mounted(tmp_path / "disk", "400k") as folder:
        yield folder


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_named_and_left_as_it_was(small_disk: Path, writer: str, old: str | None) -> None:
    path = small_disk / "out" / "artefact"
    if old is not None:
        write_text(path, old)

    def write() -> None:
        with replacing(path, size_bytes=NUMBERS.nbytes if writer == "bytes" else None) as temporary:
            WRITERS[writer](temporary)

    need = "800,000 bytes" if writer == "bytes" else r"over [\d,]{7} bytes"
    message = (
        rf"^{path}: cannot be written, the disk is full: it needs {need}, (39|40)\d,\d+ bytes are free there; "
        "free some space, or write to another disk$"
    )
    with pytest.raises(OutputError, match=message):
        write()
    assert [file.read_text() for file in path.parent.iterdir()] == ([] if old is None else [old])


def test_a_read_only_disk_is_named(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"a/b: cannot be written, the file system is read-only; write to another"):
        write_text(small_disk / "a" / "b", "")

    def lock(folder: Path) -> None:
        with locking(folder, pytest.fail):
            pass

    for folder in (small_disk, small_disk / "new"):
        with pytest.raises(OutputError, match=rf"^{folder}: cannot be written, the file system is read-only"):
            lock(folder)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            errno.EDQUOT,
            r"the disk quota is used up: it needs over 4 bytes, [\d,.]+ [GT]B are free there; free some space",
        ),
        (errno.EACCES, "there is no permission to write there; write to another folder"),
        (errno.EPERM, "there is no permission to write there; write to another folder"),
        (errno.EIO, "Input/output error; write to another folder"),
    ],
)
def test_each_reason_is_told(tmp_path: Path, code: int, message: str) -> None:
    path = tmp_path / "a.csv"

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(code, os.strerror(code), str(temporary))

    with pytest.raises(OutputError, match=f"^{path}: cannot be written, {message}"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_matter_of_writing_passes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), replacing(tmp_path / "a") as temporary:
        shutil.copyfile(tmp_path / "nowhere", temporary)
    with pytest.raises(ValueError, match="a defect"), replacing(tmp_path / "a"):
        raise ValueError("a defect")
    with pytest.raises(OutputError, match=r"^inner$"), replacing(tmp_path / "a"):
        raise OutputError("inner")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_being_filled_is_measured(tmp_path: Path) -> None:
    part = tmp_path / "part"
    (part / "a").mkdir(parents=True)
    (part / "a" / "b").write_bytes(bytes(1234))
    assert measure_bytes(part) == 1234
    with (
        pytest.raises(OutputError, match=r"out: cannot be written, the disk is full: it needs over 1,234 bytes"),
        translate_write_errors(tmp_path / "out", part),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_space(tmp_path / "new" / "a.npy", 1)
    with pytest.raises(OutputError, match=r"a\.npy: needs 1,000\.00 TB, [\d,.]+ [GT]B are free there; free"):
        require_space(tmp_path / "new" / "a.npy", 10**15)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))  # type: ignore[attr-defined]
    require_space(tmp_path / "a.npy", 10**15)  # some network file systems say that they have no size


def test_no_figure_is_zero(small_disk: Path) -> None:
    """A disk without a byte, to which nothing of a file was written."""
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with (
        pytest.raises(OutputError, match=r"/new: cannot be written, the disk is full: nothing is free there; free so"),
        replacing(small_disk / "new") as temporary,
    ):
        temporary.write_text("a")
    with pytest.raises(OutputError, match=r"/new: needs 5 bytes, nothing is free there; free some space"):
        require_space(small_disk / "new", 5)


def test_what_goes_to_one_disk_is_summed(small_disk: Path, tmp_path: Path) -> None:
    a, b, elsewhere = small_disk / "a", small_disk / "new" / "b", tmp_path / "c"
    require_room({a: 200_000, b: 150_000, elsewhere: 10**6})
    with pytest.raises(OutputError, match=rf"^{a} and {b}: together need 450,000 bytes, (39|40)\d,\d+ bytes are free"):
        require_room({a: 200_000, elsewhere: 10**6, b: 250_000})
    require_room({a: 200_000, b: -10})


def test_sizes_are_for_people() -> None:
    assert [describe_bytes(size) for size in (0, 999_999, 1_005_999, 2_500_000_000)] == [
        "0 bytes", "999,999 bytes", "1.00 MB", "2.50 GB",
    ]  # fmt: skip
    assert describe_bytes(1_000_001, up=True) == "1.01 MB"
