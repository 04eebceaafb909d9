"""Regions of reports: where their middle lies, what diameter follows from them, and those that are none."""

import math

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from noduleclip.importers.report_regions import BadRegionError, Region, measure_region, parse_region
from noduleclip.io.slice_plane import SlicePlane

OBLIQUE = SlicePlane((-10.0, -20.0, 5.0), (0.8, 0.6, 0.0, 0.0, 0.0, -1.0), (0.5, 0.8), (100, 60))


def of_circle(diameter: float, count: int, center: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float64]:
    turns = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.asarray(np.column_stack([np.cos(turns), np.sin(turns)]) * diameter / 2 + np.array(center), np.float64)


# 30 rows of 0.5 mm are 15 mm, 30 columns of 0.8 mm are 24 mm.
ON_IMAGE = {
    "POINT": ([[12.0, 7.0]], (12.0, 7.0), math.nan),
    "POINT of an arrow": ([[12.0, 7.0], [40.0, 40.0]], (12.0, 7.0), math.nan),
    "MULTIPOINT": ([[10.0, 6.0], [14.0, 8.0]], (12.0, 7.0), math.nan),
    "CIRCLE": ([[12.0, 7.0], [22.0, 7.0]], (12.0, 7.0), 16.0),
    "ELLIPSE": ([[12.0, 0.0], [12.0, 30.0], [9.0, 15.0], [15.0, 15.0]], (12.0, 15.0), 15.0),
    "POLYLINE of two points": ([[10.0, 6.0], [14.0, 6.0]], (12.0, 6.0), 3.2),
    "POLYLINE, a rectangle": ([[0, 0], [30, 0], [30, 30], [0, 30], [0, 0]], (15.0, 15.0), 24.0),
    "POLYLINE, a triangle": ([[0, 0], [30, 0], [0, 30], [0, 0]], (10.0, 10.0), math.hypot(24, 15)),
}


@pytest.mark.parametrize("name", ON_IMAGE)
def test_a_region_on_an_image_has_its_middle_and_diameter_in_space(name: str) -> None:
    points, center_px, diameter_mm = ON_IMAGE[name]
    region = Region(name.split(",")[0].split(" ")[0], np.array(points, np.float64), "1.2")
    extent = measure_region(region, OBLIQUE)
    np.testing.assert_allclose(extent.center_mm, OBLIQUE.to_patient(np.array([center_px]))[0], atol=1e-9)
    np.testing.assert_allclose(extent.diameter_mm, diameter_mm, atol=1e-9)


@pytest.mark.parametrize("graphic", ["POLYGON", "POLYLINE"])
def test_a_curve_in_space_has_that_of_its_plane(graphic: str) -> None:
    flat = of_circle(9.0, 48, (30.0, -4.0))
    points = OBLIQUE.to_patient(flat / np.array([0.8, 0.5]))
    extent = measure_region(Region(graphic, points, "", "1.9", is_closed=True))
    np.testing.assert_allclose(extent.center_mm, OBLIQUE.to_patient(np.array([[30 / 0.8, -4 / 0.5]]))[0], atol=1e-9)
    np.testing.assert_allclose(extent.diameter_mm, 9.0, atol=1e-9)
    np.testing.assert_allclose(extent.area_mm2, 24 * 4.5**2 * math.sin(2 * math.pi / 48), atol=1e-9)


def test_points_along_a_side_do_not_move_the_middle() -> None:
    square = [[0, 0], [30, 0], [30, 30], [0, 30], [0, 20], [0, 15], [0, 10]]
    extent = measure_region(Region("POLYLINE", np.array(square, np.float64), "1.2", is_closed=True), OBLIQUE)
    np.testing.assert_allclose(extent.center_mm, OBLIQUE.to_patient(np.array([[15.0, 15.0]]))[0], atol=1e-9)


def test_an_ellipsoid_has_its_longest_axis() -> None:
    ends = np.array([[0, 0, -4], [0, 0, 4], [-2, 0, 0], [2, 0, 0], [0, -3, 0], [0, 3, 0]], np.float64) + np.array(
        [1, 2, 3]
    )
    extent = measure_region(Region("ELLIPSOID", ends, "", "1.9"))
    assert extent.center_mm.tolist() == [1, 2, 3]
    assert extent.diameter_mm == 8.0


@pytest.mark.parametrize(
    ("graphic", "points"),
    [
        ("CIRCLE", [[5, 5], [5, 5]]),
        ("POLYLINE", [[5, 5], [5, 5], [5, 5], [5, 5]]),
        ("POLYLINE", [[0, 0], [4, 0], [8, 3]]),
    ],
    ids=["circle of no radius", "curve of one point", "an angle"],
)
def test_what_has_no_size_is_a_point(graphic: str, points: list[list[float]]) -> None:
    extent = measure_region(Region(graphic, np.array(points, np.float64), "1.2"), OBLIQUE)
    assert math.isnan(extent.diameter_mm)
    assert np.isfinite(extent.center_mm).all()


def make_item(kind: str, graphic: str | None, numbers: object, sop_uid: str = "1.2.3") -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ValueType = kind
    if graphic is not None:
        item.GraphicType = graphic
    if numbers is not None:
        item.GraphicData = numbers
    if sop_uid and kind == "SCOORD":
        image, reference = pydicom.Dataset(), pydicom.Dataset()
        image.ValueType, reference.ReferencedSOPInstanceUID = "IMAGE", sop_uid
        image.ReferencedSOPSequence = [reference]
        item.ContentSequence = [image]
    return item


def test_pixels_are_counted_from_the_middle_of_the_first_one() -> None:
    region = parse_region(make_item("SCOORD", "POINT", [0.5, 10.0]), pydicom.Dataset(), is_closed=True)
    assert region.points.tolist() == [[0.0, 9.5]]
    assert region.sop_uid == "1.2.3"


def test_an_image_may_be_named_by_its_place_in_the_document() -> None:
    library, region = make_item("SCOORD", "POINT", [1.0, 1.0], "1.2.7"), make_item("SCOORD", "POINT", [3.5, 4.5], "")
    child = pydicom.Dataset()
    child.RelationshipType, child.ReferencedContentItemIdentifier = "SELECTED FROM", [1, 2, 1]
    region.ContentSequence = [child]
    root = pydicom.Dataset()
    root.ContentSequence = [pydicom.Dataset(), library, region]
    assert parse_region(region, root, is_closed=True).sop_uid == "1.2.7"


BAD = {
    "no type": (make_item("SCOORD", None, [1.0, 1.0]), "unknown type ''"),
    "another type": (make_item("SCOORD", "SPLINE", [1.0, 1.0]), "unknown type 'SPLINE'"),
    "a type of space": (make_item("SCOORD", "ELLIPSOID", [1.0] * 12), "unknown type 'ELLIPSOID'"),
    "no points": (make_item("SCOORD", "POINT", None), "its POINT has 0 numbers, not a multiple of 2, at least 2"),
    "half a point": (make_item("SCOORD", "POLYLINE", [1.0, 1, 2]), "3 numbers, not a multiple of 2, at least 4"),
    "a circle of three": (make_item("SCOORD", "CIRCLE", [1.0] * 6), "its CIRCLE has 6 numbers, not 4"),
    "NaN": (make_item("SCOORD", "POINT", [1.0, math.nan]), "its POINT has the coordinate nan"),
    "infinity": (make_item("SCOORD", "CIRCLE", [1.0, 1.0, math.inf, 2.0]), "its CIRCLE has the coordinate inf"),
    "far away": (make_item("SCOORD", "POINT", [1.0, 3e38]), "its POINT has the coordinate 3e"),
    "too many": (make_item("SCOORD", "POLYLINE", [1.0] * 30_002), "over 30,000 numbers"),
    "no image": (make_item("SCOORD", "POINT", [1.0, 1.0], ""), "its region names no image"),
    "no frame of reference": (make_item("SCOORD3D", "POINT", [1.0, 1, 1]), "names no frame of reference"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_region_is_told(name: str) -> None:
    item, reason = BAD[name]
    with pytest.raises(BadRegionError, match=reason.replace("(", r"\(")):
        parse_region(item, pydicom.Dataset(), is_closed=True)
