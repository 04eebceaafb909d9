"""`embed --views --precision`: what an index records, and that no two of them are mixed."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Collection, Command
from noduleclip.config import FLOAT32, INT8, PRECISIONS
from noduleclip.engine.encoders import open_encoders
from noduleclip.io.index.open import open_index
from noduleclip.io.slice_crops import CutSettings, cut_crop


@pytest.fixture
def command(collection: Collection, checkpoint: Path, exported: Path) -> tuple[object, ...]:
    """`embed` of the phantoms with the tests' model."""
    return "embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--device", "cpu", "--workers", 1


def test_an_index_records_views_and_precision(
    noduleclip: Command, command: tuple[object, ...], index: Path, tmp_path: Path
) -> None:
    other = "--unit", "outline", "--views", 4, "--precision", INT8
    done = noduleclip(*command, *other, "--out-dir", tmp_path / "index")
    assert done.code == 0, done.err
    assert "int8, views of a crop: 4" in done.err
    made, usual = open_index(tmp_path / "index"), open_index(index)
    assert (made.manifest.views, made.manifest.precision) == (4, INT8)
    assert (usual.manifest.views, usual.manifest.precision) == (usual.manifest.model.views, FLOAT32)
    assert made.manifest.model == usual.manifest.model
    cosines = (made.embeddings[0 : made.manifest.rows] * usual.embeddings[0 : usual.manifest.rows]).sum(axis=1)
    assert 0.9 < np.median(cosines) < 1 - 1e-6


def test_a_place_outside_the_index_is_embedded_as_its_rows_were(
    noduleclip: Command,
    command: tuple[object, ...],
    collection: Collection,
    checkpoint: Path,
    exported: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "index"
    assert noduleclip(*command, "--views", 1, "--precision", INT8, "--out-dir", out).code == 0
    opened = open_index(out)
    file = sorted((collection.roi_csv.parent / "dicom").rglob("*.dcm"))[0]
    done = noduleclip("query", "--emb-dir", out, "--model", checkpoint, "--like", f"{file}:3,3", "--format", "json")
    assert done.code == 0, done.err
    crop = cut_crop(file, (3, 3), CutSettings.for_crop(opened.manifest.model.crop))
    found = [json.loads(line)["similarity"] for line in done.out.splitlines()]
    for precision in PRECISIONS:
        image = open_encoders(checkpoint, exported, "cpu", views=1, precision=precision).image
        best = np.sort(opened.embeddings[0 : opened.manifest.rows] @ image.encode(crop[None])[0])[
            : -len(found) - 1 : -1
        ]
        assert (found == pytest.approx(best.tolist(), abs=1e-6)) == (precision == INT8)


@pytest.mark.parametrize(("option", "values"), [("views", (1, 2)), ("precision", (FLOAT32, INT8))])
def test_shards_of_two_kinds_are_refused(
    noduleclip: Command, command: tuple[object, ...], tmp_path: Path, option: str, values: tuple[object, object]
) -> None:
    for number, value in enumerate(values, start=1):
        shard = "--shard", f"{number}/2", f"--{option}", value, "--out-dir", tmp_path
        assert noduleclip(*command, *shard).code == 0
    done = noduleclip("merge", "--out-dir", tmp_path)
    assert done.code == 4
    assert f"was embedded with {option} {values[1]}, 1-of-2 with {values[0]}" in done.err
    assert f"embed --shard 2/2 --{option} {values[0]} --overwrite" in done.err


def test_other_views_are_a_usage_error(noduleclip: Command, command: tuple[object, ...], tmp_path: Path) -> None:
    done = noduleclip(*command, "--views", 3, "--out-dir", tmp_path / "index")
    assert done.code == 2
    assert "--views must be one of 1, 2, 4, 8, got 3" in done.err
