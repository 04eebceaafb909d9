"""Masks of LIDC-IDRI in NIfTI against its DICOM and XML: the same pixels, at the same places."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from conftest import SHARED_DATA, call
from noduleclip import schema
from noduleclip.io.roi_table import read_roi_table

VOLUMES, SLICES = SHARED_DATA / "lidc_volumes", SHARED_DATA / "lidc_slices"
FIRST = "LIDC-IDRI-0001_R_1.nii.gz"
SHAPE = (512, 512)
CORNER = (292, 334)
"""Column and row of the DICOM slice that the first voxel of the volume is."""

pytestmark = pytest.mark.skipif(not VOLUMES.is_dir(), reason=f"{VOLUMES} is not there")


def prepare(name: str, out: Path, *more: object) -> pl.DataFrame:
    done = call("prepare", name, "--out", out, "--workers", 1, "--format", "csv", *more)
    assert done.code == 0, done.err
    return read_roi_table(out / schema.ROI_CSV).frame


def fill_inside(points_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the pixels inside one of LIDC's contours, which runs along the first pixels outside."""
    filled, edge = Image.new("L", SHAPE), Image.new("L", SHAPE)
    vertices = [(x, y) for x, y in points_px.tolist()]
    ImageDraw.Draw(filled).polygon(vertices, fill=1, outline=1)
    ImageDraw.Draw(edge).line([*vertices, vertices[0]], fill=1)
    return np.asarray((np.asarray(filled) > 0) & (np.asarray(edge) == 0))


def fill_outline(points_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the pixels whose middle lies in an outline."""
    y, x = np.indices(SHAPE)
    return Polygon(points_px).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(SHAPE)


def by_slice(rows: pl.DataFrame) -> dict[float, list[NDArray[np.float64]]]:
    found: dict[float, list[NDArray[np.float64]]] = {}
    for z_mm, text in rows.select(schema.Z_MM, schema.POINTS_JSON).rows():
        found.setdefault(round(z_mm, 2), []).append(np.array(json.loads(text), np.float64))
    return found


def test_a_mask_has_the_pixels_of_the_dicom_that_lidcs_readers_outlined(tmp_path: Path) -> None:
    """It is what any of the four readers outlined: 6,547 pixels of nine slices, and none differs."""
    shutil.copytree(SLICES / "dicom" / "LIDC-IDRI-0001", tmp_path / "dicom" / "LIDC-IDRI-0001")
    shutil.copytree(SLICES / "xml", tmp_path / "xml")
    (tmp_path / "masks").mkdir()
    shutil.copy(VOLUMES / "mask" / FIRST, tmp_path / "masks")
    dicom = tmp_path / "dicom"
    masks = by_slice(prepare("masks", tmp_path / "a", "--images", dicom, "--masks", tmp_path / "masks"))
    readers = by_slice(prepare("lidc", tmp_path / "b", "--data-root", dicom, "--xml-root", tmp_path / "xml"))
    pixels = 0
    for z_mm, outlines in masks.items():
        mask = np.any([fill_outline(points_px) for points_px in outlines], axis=0)
        np.testing.assert_array_equal(mask, np.any([fill_inside(points_px) for points_px in readers[z_mm]], axis=0))
        pixels += int(mask.sum())
    assert (len(masks), pixels) == (9, 6547)


def test_a_volume_gives_the_places_and_sizes_of_the_dicom(tmp_path: Path) -> None:
    shutil.copytree(SLICES / "dicom" / "LIDC-IDRI-0001", tmp_path / "dicom" / "LIDC-IDRI-0001")
    for name in ("image", "mask"):
        (tmp_path / name).mkdir()
        shutil.copy(VOLUMES / name / FIRST, tmp_path / name)
    masks = tmp_path / "mask"
    on_dicom = prepare("masks", tmp_path / "a", "--images", tmp_path / "dicom", "--masks", masks)
    on_volume = prepare("masks", tmp_path / "b", "--images", tmp_path / "image", "--masks", masks)
    same = [schema.Z_MM, schema.DIAMETER_MM, schema.VOLUME_MM3, schema.PATIENT_ID]
    order = [schema.Z_MM, schema.DIAMETER_MM]
    on_dicom, on_volume = on_dicom.sort(order), on_volume.sort(order)
    assert on_dicom.select(same).equals(on_volume.select(same))
    for name, offset in zip((schema.CENTROID_X, schema.CENTROID_Y), CORNER, strict=True):
        np.testing.assert_allclose(on_dicom[name] - on_volume[name], offset, atol=2e-3)
    places = [
        pl.read_csv(tmp_path / out / schema.NODULES_CSV).select(schema.X_MM, schema.Y_MM, schema.Z_MM).row(0)
        for out in "ab"
    ]
    np.testing.assert_allclose(places[0], places[1], atol=0.1)


@pytest.mark.slow
def test_all_masks_are_prepared(tmp_path: Path) -> None:
    rows = prepare("masks", tmp_path / "out", "--images", VOLUMES / "image", "--masks", VOLUMES / "mask")
    assert rows[schema.SERIES_UID].n_unique() == 240
    assert rows[schema.PATIENT_ID].n_unique() == 120
    assert not (tmp_path / "out" / schema.REJECTS_CSV).exists()
