"""3D Slicer markups: valid by Slicer's schema, in the patient's millimetres, named by rank and size."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from highdicom.spatial import ImageToReferenceTransformer

from exporters.places import ORIENTATIONS, POSITION_MM, SPACING_YX_MM, find_on, write_slice
from noduleclip import schema
from noduleclip.exporters.findings import Export, Finding, Question, Source
from noduleclip.exporters.slicer_markups import SCHEMA, render

SOURCE = Source((Question("> 6 mm", "diameter in (6, inf) mm"),), "model", "0" * 64)
POINT = {
    "id": str, "label": str, "description": str, "position": (float, 3),
    "positionStatus": ["undefined", "preview", "defined"],
}  # fmt: skip
COLOR = (float, 3)
DISPLAY = {
    "visibility": bool, "pointLabelsVisibility": bool, "propertiesLabelVisibility": bool, "useGlyphScale": bool,
    "glyphType": ["Vertex2D", "Dash2D", "Cross2D", "ThickCross2D", "Triangle2D", "Square2D", "Circle2D", "Diamond2D",
                  "Arrow2D", "ThickArrow2D", "HookedArrow2D", "StarBurst2D", "Sphere3D", "Diamond3D"],
    "glyphScale": float, "color": COLOR, "selectedColor": COLOR,
}  # fmt: skip
MARKUP = {
    "type": ["Fiducial", "Line", "Angle", "Curve", "ClosedCurve", "Plane", "ROI"], "name": str,
    "coordinateSystem": ["LPS", "RAS"], "coordinateUnits": ["mm", "um"],
}  # fmt: skip
"""What markups-schema-v1.0.3.json allows of the keys that are written: a type, a list of values, or numbers."""


def check(values: dict[str, Any], allowed: dict[str, Any], required: Sequence[str] = ()) -> None:
    """Check an object of the file against its part of the schema."""
    assert set(required) <= set(values) <= set(allowed), values
    for name, value in values.items():
        kind = allowed[name]
        if isinstance(kind, list):
            assert value in kind, (name, value)
        elif isinstance(kind, tuple):
            assert len(value) == kind[1] and all(isinstance(one, kind[0]) for one in value), (name, value)
        else:
            assert isinstance(value, kind), (name, value)


def check_file(content: bytes) -> list[dict[str, Any]]:
    """Check a whole file; the schema requires `@schema`, `markups`, and a type in each markup."""
    values = json.loads(content)
    assert set(values) == {"@schema", "markups"}
    assert values["@schema"] == SCHEMA
    for markup in values["markups"]:
        flat = {name: value for name, value in markup.items() if name not in ("controlPoints", "display")}
        check(flat, MARKUP, ["type"])
        check(markup["display"], DISPLAY)
        assert all(0 <= part <= 1 for name in ("color", "selectedColor") for part in markup["display"].get(name, []))
        for point in markup["controlPoints"]:
            check(point, POINT)
    markups: list[dict[str, Any]] = values["markups"]
    return markups


def write(findings: Sequence[Finding], path: Path = Path("hits.mrk.json")) -> dict[str, list[dict[str, Any]]]:
    files = list(render(Export(pl.DataFrame(), SOURCE, tuple(findings)), path))
    return {file.path.name: check_file(file.content) for file in files}


@pytest.mark.parametrize("kind", ORIENTATIONS)
def test_points_and_lines_lie_where_the_nodule_is(tmp_path: Path, kind: str) -> None:
    path = write_slice(tmp_path / "1.dcm", orientation=ORIENTATIONS[kind])
    finding = find_on(path, {schema.DIAMETER_MM: 8.0})
    ((points, line),) = write([finding]).values()
    oracle = ImageToReferenceTransformer(POSITION_MM, ORIENTATIONS[kind], SPACING_YX_MM)
    expected = oracle(np.array([finding.center_px]) + 0.5)[0]
    assert np.abs(np.array(points["controlPoints"][0]["position"]) - expected).max() < 0.1
    first, second = (np.array(point["position"]) for point in line["controlPoints"])
    assert np.linalg.norm(second - first) == pytest.approx(8.0, abs=1e-3)
    assert np.allclose((first + second) / 2, expected, atol=1e-3)
    normal = np.cross(ORIENTATIONS[kind][:3], ORIENTATIONS[kind][3:])
    assert abs((second - first) @ normal) < 1e-3, "the line lies in the slice"


def test_names_tell_rank_size_and_estimates(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    estimate = {schema.ESTIMATED_DIAMETER: 7.46, schema.DESCRIPTION: "about 7.5 mm (6.1-9.2), solid"}
    measured = find_on(
        path, {**estimate, schema.DIAMETER_MM: 8.24, schema.QUERY: "> 6 mm", schema.SCORE: 0.5, "site": "A"}
    )
    findings = [measured, find_on(path, estimate, rank=2), find_on(path, rank=3)]
    ((points, *lines),) = write(findings).values()
    assert [point["label"] for point in points["controlPoints"]] == ["1: 8.2 mm", "2: ~7.5 mm", "3"]
    assert [(line["type"], line["name"]) for line in lines] == [("Line", "1: 8.2 mm"), ("Line", "2: ~7.5 mm")]
    assert lines[0]["display"]["color"] != lines[1]["display"]["color"]
    described = points["controlPoints"][0]["description"]
    expected = (
        "> 6 mm; score 0.500; measured 8.2 mm; estimated about 7.5 mm (6.1-9.2), solid; patient P1; site A; 1.dcm"
    )
    assert described == expected


def test_each_series_has_a_file_the_best_rank_first(tmp_path: Path) -> None:
    a, b = (write_slice(tmp_path / key / "1.dcm", key=key) for key in "ab")
    findings = [find_on(b, rank=1), find_on(a, rank=2), find_on(b, rank=3)]
    files = write(findings, Path("x/Hits.MRK.JSON"))
    assert list(files) == ["Hits-1.MRK.JSON", "Hits-2.MRK.JSON"]
    labels = [[point["label"] for point in markups[0]["controlPoints"]] for markups in files.values()]
    assert labels == [["1", "3"], ["2"]]
    assert [markups[0]["name"] for markups in files.values()] == ["Hits-1", "Hits-2"]


def test_no_findings_are_an_empty_list() -> None:
    assert [markup["controlPoints"] for markup in write([])["hits.mrk.json"]] == [[]]
