"""The picture of a row shows its slice, in millimetres, with outline and box where the tissue is."""

from pathlib import Path

import numpy as np
import pytest

from conftest import Collection
from noduleclip import schema
from noduleclip.errors import SliceError
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.index.open import open_index
from noduleclip.io.outlines import draw_outline
from noduleclip.io.pictures import read_picture


def test_it_shows_the_slice_with_the_outline_where_the_nodule_is(index: Path, collection: Collection) -> None:
    opened = open_index(index)
    rows = [0, 7, 40]
    for row, ((own, *_)) in zip(opened.read_rows(rows).iter_rows(named=True), opened.read_slices(rows), strict=True):
        picture = read_picture(row, opened.manifest.dicom_roots, own.outlines, fov_mm=60, size_px=120)
        ct = read_ct_slice(collection.roi_csv.parent / row[schema.DICOM_PATH])
        assert ct.spacing_yx_mm is not None
        assert picture.pixel_mm == 0.5
        across, down = (round(row[name]) for name in (schema.CENTER_X, schema.CENTER_Y))
        assert picture.hu[59:61, 59:61].mean() == pytest.approx(
            ct.hu[down - 1 : down + 2, across - 1 : across + 2].mean(), abs=250
        )
        left, top, right, bottom = picture.box_px
        assert (left + right) / 2 == pytest.approx(59.5, abs=0.02)
        assert right - left == pytest.approx(
            (row[schema.BBOX_XMAX] - row[schema.BBOX_XMIN] + 1) * ct.spacing_yx_mm[1] / 0.5, abs=0.05
        )
        (mean,) = picture.mean_px
        xs, ys = np.array(mean).T
        assert left <= xs.min() <= xs.max() <= right
        assert top <= ys.min() <= ys.max() <= bottom
        (points, *_) = own.outlines
        center = (row[schema.CENTER_X], row[schema.CENTER_Y])
        filled = draw_outline(points, ct.spacing_yx_mm, center, fov_mm=60, size_px=120) > 0.5
        assert np.argwhere(filled).mean(axis=0) == pytest.approx([ys.mean(), xs.mean()], abs=3)


def test_a_slice_that_is_gone_is_a_reason(index: Path, tmp_path: Path) -> None:
    opened = open_index(index)
    row = opened.read_rows([3]).row(0, named=True)
    with pytest.raises(SliceError, match="no such file"):
        read_picture(row, [tmp_path], (), fov_mm=60, size_px=64)
