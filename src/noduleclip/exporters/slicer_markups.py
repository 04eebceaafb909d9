"""3D Slicer markups (`.mrk.json`): a list of points for each series, and a line of the diameter for each of them.

Slicer loads all markups of a file, and takes their names from it. The coordinates are those of DICOM: LPS, in mm.

Source:
    Slicer, Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json; required are `@schema` and `markups`,
    and `type` in each markup.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.exporters.file_names import number_files
from noduleclip.exporters.findings import Export, ExportFile, Finding, group_by_series, label_series

SUFFIX: Final = ".mrk.json"
SCHEMA: Final = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_MEASURED: Final = (0.2, 0.85, 0.35)  # red, green, blue
_ESTIMATED: Final = (1.0, 0.65, 0.1)
_MM_DIGITS: Final = 4

Json = dict[str, object]


def render(export: Export, path: Path) -> Iterator[ExportFile]:
    """Make a file for each series; one with an empty list where there are no findings."""
    groups = group_by_series(export.findings) or [[]]
    for file, findings in zip(number_files(path, SUFFIX, len(groups)), groups, strict=True):
        name = file.name[: -len(SUFFIX)]
        values = {"@schema": SCHEMA, "markups": [_make_points(name, findings), *_make_lines(findings)]}
        content = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        label = label_series(findings) if len(groups) > 1 else ""
        yield ExportFile(file, content.encode(), len(findings), label)


def _make_points(name: str, findings: Sequence[Finding]) -> Json:
    points = [
        _make_point(number, finding.name, finding.center_mm) | {"description": describe(finding)}
        for number, finding in enumerate(findings, 1)
    ]
    display = {"visibility": True, "pointLabelsVisibility": True, "propertiesLabelVisibility": False}
    look = {"glyphType": "Cross2D", "glyphScale": 2.0, "useGlyphScale": True, "selectedColor": list(_MEASURED)}
    return _make_markup("Fiducial", name, points) | {"display": display | look}


def _make_lines(findings: Sequence[Finding]) -> Iterator[Json]:
    """Yield a line along the rows of the slice for each finding with a diameter, with the finding in its middle."""
    for finding in findings:
        if finding.diameter_mm is None:
            continue
        half_mm = finding.plane.axes[0] * (finding.diameter_mm / 2)
        ends = [finding.center_mm - half_mm, finding.center_mm + half_mm]
        points = [_make_point(number, "", end) for number, end in enumerate(ends, 1)]
        color = list(_ESTIMATED if finding.is_estimated else _MEASURED)
        # The point in its middle has the label already.
        display = {"visibility": True, "pointLabelsVisibility": False, "propertiesLabelVisibility": False}
        look = {"glyphScale": 1.0, "useGlyphScale": True, "color": color, "selectedColor": color}
        yield _make_markup("Line", finding.name, points) | {"display": display | look}


def _make_markup(kind: str, name: str, points: Sequence[Json]) -> Json:
    return {
        "type": kind, "name": name, "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": list(points),
    }  # fmt: skip


def _make_point(number: int, label: str, place_mm: NDArray[np.float64]) -> Json:
    position = [round(float(part), _MM_DIGITS) for part in place_mm]
    return {"id": str(number), "label": label, "position": position, "positionStatus": "defined"}


def describe(finding: Finding) -> str:
    """Return what a finding is and why it is one, in a line."""
    parts = [finding.query]
    parts += [f"{name} {value:.3f}" for name, value in list(finding.scores.items())[:1]]
    if finding.measured_mm is not None:
        kind = f" ({finding.diameter_kind})" if finding.diameter_kind not in ("", schema.UNKNOWN_KIND) else ""
        parts.append(f"measured {finding.measured_mm:.1f} mm{kind}")
    if finding.description:
        parts.append(f"estimated {finding.description}")
    parts.append(f"patient {finding.patient_id}" if finding.patient_id else "")
    parts.append(f"nodule {finding.nodule_id}" if finding.nodule_id else "")
    parts += [f"{name} {value}" for name, value in finding.extra.items()]
    parts.append(finding.dicom_path + ("" if finding.frame is None else f", frame {finding.frame}"))
    return "; ".join(part for part in parts if part)
