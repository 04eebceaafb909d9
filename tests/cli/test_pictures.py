"""The pictures of hits, read from the slices that an index was made of."""

import re
from pathlib import Path

import polars as pl
import pytest

from conftest import Collection
from noduleclip import schema
from noduleclip.cli.pictures import PictureOptions, read_pictures
from noduleclip.errors import SliceError, UsageError
from noduleclip.io.index_store import open_index
from noduleclip.io.pictures import Picture


def test_each_hit_gets_its_picture_or_a_reason(index: Path, collection: Collection, tmp_path: Path) -> None:
    opened = open_index(index)
    hits = opened.read_rows([5, 2, 5])
    pictures = read_pictures(opened, hits, PictureOptions(), fov_mm=40, size_px=20)
    first, second, third = pictures
    assert isinstance(first, Picture) and isinstance(second, Picture)
    assert first is third
    assert first.hu.shape == (20, 20)
    assert first.outline_px and first.outline_px != second.outline_px
    root = PictureOptions(collection.roi_csv.parent)
    again = read_pictures(opened, hits, root, fov_mm=40, size_px=20)[1]
    assert isinstance(again, Picture) and (again.hu == second.hu).all()
    (gone,) = read_pictures(opened, hits[:1], PictureOptions(tmp_path), fov_mm=40, size_px=20)
    assert isinstance(gone, SliceError)
    assert str(tmp_path) in str(gone)


def test_a_root_that_is_no_folder_is_told(index: Path, tmp_path: Path) -> None:
    opened = open_index(index)
    with pytest.raises(UsageError, match=re.escape(f"--dicom-root {tmp_path / 'none'}: no such folder")):
        read_pictures(opened, opened.read_rows([1]), PictureOptions(tmp_path / "none"), fov_mm=40, size_px=20)


def test_a_row_without_a_place_is_a_reason(index: Path) -> None:
    opened = open_index(index)
    hits = opened.read_rows([1]).with_columns(pl.lit(None, pl.Float64).alias(schema.CENTER_X))
    (reason,) = read_pictures(opened, hits, PictureOptions(), fov_mm=40, size_px=20)
    assert isinstance(reason, SliceError)
    assert "row 1 of" in str(reason) and "has no box" in str(reason)
