"""COCO files, read back by pycocotools: boxes and masks lie on the pixels of the slice that is beside the file."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools.coco import COCO

from exporters.places import SHAPE_YX, find_on, write_slice
from noduleclip import schema
from noduleclip.errors import SliceError
from noduleclip.exporters.coco import render
from noduleclip.exporters.findings import Export, Finding, Question, Source

SOURCE = Source((Question("> 6 mm", "diameter in (6, inf) mm"),), "model", "0" * 64)
ROWS, COLUMNS = np.mgrid[: SHAPE_YX[0], : SHAPE_YX[1]]
DISC = (COLUMNS - 31.25) ** 2 + (ROWS - 17.5) ** 2 <= 7.25**2
ANGLES = np.linspace(0, 2 * np.pi, 180, endpoint=False)
CIRCLE_PX = np.stack([31.25 + 7.25 * np.cos(ANGLES), 17.5 + 7.25 * np.sin(ANGLES)], axis=1)


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A slice with a disc of soft tissue."""
    return write_slice(tmp_path / "1.dcm", hu=np.where(DISC, 40, -850).astype(np.int16))


def save(
    folder: Path, findings: Sequence[Finding], on_left_out: Callable[[Finding, SliceError], None] = lambda *_: None
) -> COCO:
    """Write the files and open them."""
    export = Export(pl.DataFrame(), SOURCE, tuple(findings), on_left_out)
    for file in render(export, folder / "hits.json"):
        file.path.parent.mkdir(exist_ok=True)
        file.path.write_bytes(file.content)
    return COCO(folder / "hits.json")


def read_image(folder: Path, image: dict[str, Any]) -> NDArray[np.uint8]:
    return np.asarray(Image.open(folder / image["file_name"]))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_a_mask_covers_the_nodule_of_its_picture(ct: Path, tmp_path: Path) -> None:
    coco = save(tmp_path, [find_on(ct, {schema.DIAMETER_MM: 8.0}, outlines=[CIRCLE_PX])])
    (image,), (annotation,) = coco.dataset["images"], coco.dataset["annotations"]
    grey = read_image(tmp_path, image)
    assert grey.shape == (image["height"], image["width"]) == SHAPE_YX
    bright, mask = grey > 200, coco.annToMask(annotation).astype(bool)
    assert np.array_equal(bright, DISC)
    assert (mask & bright).sum() / (mask | bright).sum() > 0.97
    for axis in (COLUMNS, ROWS):
        assert axis[mask].mean() == pytest.approx(axis[bright].mean(), abs=0.1)
    assert annotation["area"] == pytest.approx(np.pi * 7.25**2, rel=0.01)
    assert annotation["bbox"] == pytest.approx([24.5, 10.75, 14.5, 14.5], abs=0.01)
    assert annotation["attributes"]["bbox_from"] == "outline"


def test_without_an_outline_the_box_is_that_of_the_table(ct: Path, tmp_path: Path) -> None:
    (annotation,) = save(tmp_path, [find_on(ct)]).dataset["annotations"]
    assert annotation["bbox"] == [28.0, 15.0, 9.0, 7.0], "nine columns and seven rows, the last ones inclusive"
    assert (annotation["segmentation"], annotation["area"]) == ([], 63.0)


@pytest.mark.parametrize(
    ("row", "expected", "box_from"),
    [
        ({schema.DIAMETER_MM: 8.0}, [31.75 - 5, 18.0 - 8, 10.0, 16.0], "diameter"),
        ({schema.ESTIMATED_DIAMETER: 4.0}, [31.75 - 2.5, 18.0 - 4, 5.0, 8.0], "estimated diameter"),
        ({}, [31.25, 17.5, 1.0, 1.0], "point"),
    ],
)
def test_a_point_has_the_box_of_its_diameter(
    ct: Path, tmp_path: Path, row: dict[str, float], expected: list[float], box_from: str
) -> None:
    point = dict(zip(schema.BOX_COLUMNS, (31, 17, 31, 17), strict=True))
    (annotation,) = save(tmp_path, [find_on(ct, {**point, **row})]).dataset["annotations"]
    assert annotation["bbox"] == expected
    assert annotation["attributes"]["bbox_from"] == box_from


def test_a_nodule_at_the_edge_ends_with_the_picture(ct: Path, tmp_path: Path) -> None:
    height, width = SHAPE_YX
    corner = CIRCLE_PX - [31.25, 17.5] + [width - 1, height - 1]
    place = {schema.CENTROID_X: width - 1, schema.CENTROID_Y: height - 1}
    point = {**place, **dict(zip(schema.BOX_COLUMNS, (79, 59, 79, 59), strict=True)), schema.DIAMETER_MM: 8.0}
    coco = save(tmp_path, [find_on(ct, place, outlines=[corner]), find_on(ct, point)])
    outlined, boxed = coco.dataset["annotations"]
    assert outlined["bbox"] == pytest.approx([width - 0.5 - 7.25, height - 0.5 - 7.25, 7.75, 7.75], abs=0.01)
    assert max(outlined["segmentation"][0][::2]) == width
    assert boxed["bbox"] == [width - 0.5 - 5, height - 0.5 - 8, 5.5, 8.5]


def test_hits_of_one_slice_share_its_picture(ct: Path, tmp_path: Path) -> None:
    other = write_slice(tmp_path / "2.dcm", index=1)
    coco = save(tmp_path, [find_on(ct, rank=1), find_on(other, rank=2), find_on(ct, rank=3)])
    assert [image["file_name"] for image in coco.dataset["images"]] == ["hits_images/0001.png", "hits_images/0002.png"]
    ranks = {key: [one["attributes"][schema.RANK] for one in found] for key, found in coco.imgToAnns.items()}
    assert ranks == {1: [1, 3], 2: [2]}
    assert coco.getCatIds(catNms=["nodule"]) == [1]


def test_attributes_tell_measured_from_estimated(ct: Path, tmp_path: Path) -> None:
    row = {
        schema.DIAMETER_MM: 8.0, schema.ESTIMATED_DIAMETER: 7.5, schema.ESTIMATED_LOW: 6.0, schema.SIMILARITY: 0.5,
        schema.QUERY: "> 6 mm", schema.NODULE_ID: "n", schema.SATISFIES: False, schema.MALIGNANCY: 3.5, "site": "A",
    }  # fmt: skip
    (annotation,) = save(tmp_path, [find_on(ct, row)]).dataset["annotations"]
    assert annotation["attributes"] == {
        **row, schema.RANK: 1, schema.PATIENT_ID: "P1", "bbox_from": "table",
    }  # fmt: skip


def test_a_slice_that_cannot_be_decoded_is_left_out_and_told(ct: Path, tmp_path: Path) -> None:
    broken = write_slice(tmp_path / "2.dcm", index=1)
    finding = find_on(broken, rank=1)
    broken.write_bytes(broken.read_bytes()[:-1000])
    told: list[tuple[int, str]] = []
    coco = save(tmp_path, [finding, find_on(ct, rank=2)], lambda one, error: told.append((one.rank, str(error))))
    assert [one["attributes"][schema.RANK] for one in coco.dataset["annotations"]] == [2]
    assert [image["file_name"] for image in coco.dataset["images"]] == ["hits_images/0001.png"]
    assert [rank for rank, _ in told] == [1]
    assert "cut short" in told[0][1]


def test_no_findings_are_a_file_without_images() -> None:
    (file,) = render(Export(pl.DataFrame(), SOURCE), Path("hits.json"))
    values = json.load(io.BytesIO(file.content))
    assert (values["images"], values["annotations"], len(values["categories"])) == ([], [], 1)
