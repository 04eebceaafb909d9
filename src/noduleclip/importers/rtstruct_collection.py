"""RT Structure Sets of a folder as annotations of the CT series there."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, SliceError, UsageError
from noduleclip.importers.annotations import Annotations, Outline, RejectedAnnotation
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.rtstruct import Roi, StructureSet, read_structure_set
from noduleclip.importers.rtstruct_outlines import outline_roi
from noduleclip.io.slice_plane import SlicePlane

STRUCTURE_SET: Final = "RTSTRUCT"
NODULE_ROIS: Final = r"^(?!.*lungs?\b.*gtv).*(gtv|nodul|tumou?r|lesion)"
"""Names of ROIs that are nodules, in any case: not `Lungs-GTV`, the lung without one."""
_MOST_NAMED: Final = 8


def compile_roi_pattern(text: str) -> re.Pattern[str]:
    """Compile the pattern of names of ROIs, in any case.

    Raises:
        UsageError: It is no regular expression.
    """
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise UsageError(f"--roi: {text[:80]!r} is no regular expression: {error}") from error


def load_structure_sets(
    catalogue: Catalogue, pattern: re.Pattern[str], max_pixels: int, on_file: Callable[[], None] = lambda: None
) -> Annotations:
    """Load the outlines of ROIs whose names match a pattern.

    Raises:
        InputError: There is no structure set, or none with such a ROI.
    """
    outlines: list[Outline] = []
    rejected: list[RejectedAnnotation] = []
    reported: list[RejectedAnnotation] = []
    left_out: Counter[str] = Counter()
    paths = catalogue.list_other(STRUCTURE_SET)
    for path in paths:
        try:
            structures = _name_series(read_structure_set(path, max_pixels), catalogue)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        else:
            for roi in structures.rois:
                if not pattern.search(roi.name):
                    left_out[roi.name or "without a name"] += 1
                    continue
                made = _outline(structures, roi, catalogue)
                if isinstance(made, Outline):
                    outlines.append(made)
                else:
                    (reported if not roi.curves and not roi.fault else rejected).append(made)
        on_file()
    others = ", ".join(f"{name[:40]} ({count})" for name, count in left_out.most_common(_MOST_NAMED))
    others += ", …" if len(left_out) > _MOST_NAMED else ""
    if not paths:
        raise InputError(
            f"{catalogue.root}: no RT Structure Set (RTSTRUCT) among {catalogue.others.height} DICOM files that are no "
            "CT; it must lie below the same folder as the CT"
        )
    if left_out and not outlines and not rejected and not reported:
        raise InputError(
            f"{catalogue.root}: no ROI has a name that --roi matches, {pattern.pattern!r}; found: {others}"
        )
    return Annotations(
        source=catalogue.root,
        outlines=outlines,
        rejected=rejected,
        counts=Counter({"structure sets": len(paths), "ROIs that --roi does not match": sum(left_out.values())}),
        remarks=[f"ROIs that --roi does not match are left out: {others}"] if left_out else [],
        reported=reported,
        unusable=Counter({"ROIs without closed contours": len(reported)}),
    )


def _outline(structures: StructureSet, roi: Roi, catalogue: Catalogue) -> Outline | RejectedAnnotation:
    """Return the outline of a ROI, or why it has none."""
    where = f"{structures.path}: ROI {roi.number} {roi.name[:40]!r}"

    def reject(code: RejectCode, fact: str) -> RejectedAnnotation:
        return RejectedAnnotation(structures.path, code, f"{where}: {fact}")

    if roi.fault:
        return reject(RejectCode.BAD_STRUCTURE_SET, roi.fault)
    if not roi.curves and roi.points:
        return reject(RejectCode.NO_DIAMETER, f"has {roi.points} points or open curves, and no closed contour")
    if not roi.curves:
        return reject(RejectCode.NO_DIAMETER, "has no contours")
    if not structures.series_uid:
        return reject(RejectCode.NO_SERIES, "the file names no series, nor slices of one that is here")
    named: dict[str, SlicePlane] = {}
    for uid in {curve.sop_uid for curve in roi.curves} - {""}:
        found = catalogue.find_sop(uid)
        plane = catalogue.find_plane(uid)
        if found is not None and plane is not None and found[schema.SERIES_UID] == structures.series_uid:
            named[uid] = plane
    series = catalogue.find_series(structures.series_uid)
    if series is None:  # counted where rows are made
        return Outline(structures.series_uid, "", roi.name, ())
    return outline_roi(structures, roi, series, named)


def _name_series(structures: StructureSet, catalogue: Catalogue) -> StructureSet:
    """Return a structure set with the series that it names, else with that of the first slice that a contour names."""
    if structures.series_uid:
        return structures
    slices = (catalogue.find_sop(curve.sop_uid) for roi in structures.rois for curve in roi.curves if curve.sop_uid)
    series_uid = next((str(row[schema.SERIES_UID]) for row in slices if row is not None), "")
    return replace(structures, series_uid=series_uid)
