"""Rows of the ROI table: one per curve, on its slice, or per sphere, on the slice nearest its center."""

import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import RejectCode
from noduleclip.importers.annotations import Contour, Outline, RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.curve_columns import DIGITS, describe_curve, round_values
from noduleclip.importers.diameters import DiameterKind, measure_outline
from noduleclip.importers.grouping import Annotation
from noduleclip.importers.roi_frame import PlacedAnnotation, make_roi_frame
from noduleclip.importers.series_slices import SeriesSlices, find_in_stack
from noduleclip.importers.slice_columns import COLUMNS, PATH, POSITION, ROWS, make_planes
from noduleclip.importers.slice_names import find_sop_uid
from noduleclip.importers.spheres import cut_sphere
from noduleclip.io.roi_table import LIDC_PATIENT, MAX_DIAMETER_MM


@dataclass(frozen=True)
class RoiRows:
    """Rows made of annotations.

    Attributes:
        frame: The columns of `ROI_COLUMNS`; by patient and series, then nodule, then slice upwards, then reader.
        rejected: Annotations that give no row.
        points: Curves of a single point in outlines that have others; they have no diameter and are left out.
        absent: Outlines and spheres of series that have no slices here.
        first_absent: The first of these series; empty without any.
    """

    frame: pl.DataFrame
    rejected: list[RejectedAnnotation]
    points: int
    absent: int
    first_absent: str = ""


def make_rows(
    outlines: Sequence[Outline],
    catalogue: Catalogue,
    kind: DiameterKind,
    *,
    source: Path,
    relative: bool = False,
    on_done: Callable[[int], None] = lambda _: None,
) -> RoiRows:
    """Return a row for each curve of each outline.

    Args:
        outlines: Readers' outlines, in any order.
        catalogue: Their slices.
        kind: Measure of the diameters.
        source: File or folder of the outlines, for messages.
        relative: Write paths relative to the folder that the catalogue's start from.
        on_done: Called with the outlines done since the last call.
    """
    maker = _Maker(catalogue, source, relative)
    return maker.place_all(outlines, lambda outline, series: maker.place_outline(outline, series, kind), on_done)


def make_sphere_rows(
    spheres: Sequence[Sphere],
    catalogue: Catalogue,
    kind: str,
    *,
    source: Path,
    relative: bool = False,
    on_done: Callable[[int], None] = lambda _: None,
) -> RoiRows:
    """Return a row for each sphere, on the slice nearest its middle; otherwise as `make_rows`."""
    maker = _Maker(catalogue, source, relative)
    return maker.place_all(spheres, lambda sphere, series: maker.place_sphere(sphere, series, kind), on_done)


def _by_series(annotations: Sequence[Annotation]) -> dict[str, list[Annotation]]:
    """Group annotations by series, in the order of the series."""
    found: dict[str, list[Annotation]] = defaultdict(list)
    for one in annotations:
        found[one.series_uid].append(one)
    return dict(sorted(found.items()))


class _Maker:
    """Makes the rows of one collection, and records annotations that give none."""

    def __init__(self, catalogue: Catalogue, source: Path, relative: bool) -> None:
        self._catalogue, self._source, self._relative = catalogue, source, relative
        self._rejected: list[RejectedAnnotation] = []
        self._points = self._absent = 0
        self._first_absent = ""

    def place_all(
        self,
        annotations: Sequence[Annotation],
        place: Callable[[Annotation, SeriesSlices], Iterator[PlacedAnnotation]],
        on_done: Callable[[int], None],
    ) -> RoiRows:
        """Place the annotations of each series that is here."""
        rows: list[PlacedAnnotation] = []
        for series_uid, here in _by_series(annotations).items():
            series = self._catalogue.find_series(series_uid)
            if series is None:
                self._absent += len(here)
                self._first_absent = self._first_absent or series_uid
            else:
                rows += [row for one in here for row in place(one, series)]
            on_done(len(here))
        return RoiRows(make_roi_frame(rows), self._rejected, self._points, self._absent, self._first_absent)

    def place_outline(self, outline: Outline, series: SeriesSlices, kind: DiameterKind) -> Iterator[PlacedAnnotation]:
        """Return the rows of one outline."""
        outline, found = self._find_slices(outline, series)
        first = series.frame.row(0, named=True)
        spacings_yx_mm = [((it or first)[schema.SPACING_ROW], (it or first)[schema.SPACING_COL]) for it in found]
        sizes_mm = measure_outline(outline, spacings_yx_mm, kind)
        drawn = [(contour, here) for contour, here in zip(outline.contours, found, strict=True) if contour.includes]
        for (contour, here), size_mm in zip(drawn, sizes_mm, strict=True):
            if len(contour.points_px) < 2:
                self._points += 1
                continue
            where = f"{self._source}: {_name_annotation(outline)}"
            if here is None and not contour.sop_uid and series.of_patient(outline.patient_id) is None:
                self._refuse(RejectCode.NO_SLICE, f"{where}: {_name_patients(series, outline.patient_id)}")
            elif here is None:
                at = contour.sop_uid or f"z {contour.z_mm:g} mm"
                self._refuse(RejectCode.NO_SLICE, f"{where}: its slice {at} is not below {self._catalogue.root}")
            elif not _is_on_slice(contour.points_px.mean(axis=0), here):
                self._refuse(RejectCode.OUTSIDE, f"{where}: its curve lies outside slice {_name_image(here)}")
            elif not 0 < size_mm <= MAX_DIAMETER_MM:
                reason = (
                    f"its diameter on slice {_name_image(here)} is {size_mm:.1f} mm, not in (0, {MAX_DIAMETER_MM:g}] mm"
                )
                self._refuse(RejectCode.NO_DIAMETER, f"{where}: {reason}")
            else:
                yield self._describe(outline, here, describe_curve(contour.points_px), size_mm, kind)

    def place_sphere(self, sphere: Sphere, series: SeriesSlices, kind: str) -> Iterator[PlacedAnnotation]:
        """Return the row of one sphere, if it lies on a slice."""
        where = f"{self._source}: {_name_annotation(sphere)}"
        at = "({:g}, {:g}, {:g}) mm".format(*sphere.center_mm)
        found, plane = self._catalogue.find_sop(sphere.sop_uid), self._catalogue.find_plane(sphere.sop_uid)
        if found is None or plane is None:
            mine = series.of_patient(sphere.patient_id)
            if mine is None:
                self._refuse(RejectCode.NO_SLICE, f"{where}: {_name_patients(series, sphere.patient_id)}")
                return
            series = mine
            number = series.find_nearest(sphere.center_mm)
            if number is None:
                other = _advise_other(series, sphere)
                self._refuse(RejectCode.NO_SLICE, f"{where}: no slice of the series lies at {at}{other}")
                return
            found, plane = series.frame.row(number, named=True), series.planes[number]
        disc = cut_sphere(sphere, plane)
        if disc is None:
            other = _advise_other(series, sphere)
            self._refuse(RejectCode.OUTSIDE, f"{where}: {at} lies outside slice {_name_image(found)}{other}")
            return
        middle = dict(zip((schema.CENTROID_X, schema.CENTROID_Y), disc.center_px, strict=True))
        shape = {**round_values(middle), **dict(zip(schema.BOX_COLUMNS, disc.box_px, strict=True))}
        further = {schema.DETECTION_SCORE: sphere.score, **sphere.extra}
        yield self._describe(sphere, found, shape, sphere.diameter_mm, kind, further)

    def _find_slices(self, outline: Outline, series: SeriesSlices) -> tuple[Outline, list[dict[str, Any] | None]]:
        """Find the slice of each curve of an outline, without the curves that lie on slices of another series."""
        contours: list[Contour] = []
        found: list[dict[str, Any] | None] = []
        for contour in outline.contours:
            here = self._find_slice(contour, series, outline.patient_id)
            if here is None or here[schema.SERIES_UID] == outline.series_uid:
                contours.append(_name_slice(contour, here))
                found.append(here)
            elif contour.includes:
                reason = f"its slice {contour.sop_uid} is of series {here[schema.SERIES_UID]}"
                self._refuse(RejectCode.NO_SLICE, f"{self._source}: {_name_annotation(outline)}: {reason}")
        return replace(outline, contours=tuple(contours)), found

    def _find_slice(self, contour: Contour, series: SeriesSlices, patient_id: str) -> dict[str, Any] | None:
        if contour.sop_uid:
            found = self._catalogue.find_sop(contour.sop_uid)
            if found is not None or series.frame[schema.FRAME].has_nulls():
                return found  # else the name may be that of a slice that was made a frame
        mine = series.of_patient(patient_id)
        if mine is None or not math.isfinite(contour.z_mm):
            return None
        number = mine.find_height(contour.z_mm)
        return None if number is None else mine.frame.row(number, named=True)

    def _refuse(self, code: RejectCode, reason: str) -> None:
        self._rejected.append(RejectedAnnotation(self._source, code, reason))

    def _describe(
        self,
        annotation: Outline | Sphere,
        found: Mapping[str, Any],
        shape: Mapping[str, Any],
        size_mm: float | None,
        kind: str,
        further: Mapping[str, Any] | None = None,
    ) -> PlacedAnnotation:
        values = {
            schema.DICOM_PATH: self._name_path(found[PATH]),
            **{name: found[name] for name in (schema.SPACING_ROW, schema.SPACING_COL)},
            schema.DIAMETER_MM: None if size_mm is None else round(size_mm, DIGITS),
            **shape,
            schema.SERIES_UID: annotation.series_uid,
            schema.SOP_UID: found[schema.SOP_UID] and find_sop_uid(found[schema.SOP_UID]),
            schema.FRAME: found[schema.FRAME],
            schema.PATIENT_ID: annotation.patient_id or _name_patient(found),
            schema.READER: annotation.reader or None,
            schema.DIAMETER_KIND: str(kind) or None,
            **annotation.ratings,
            schema.Z_MM: found[POSITION[2]],
            **{name: found[name] for name in (schema.SLICE_THICKNESS, schema.MANUFACTURER)},
            schema.VOLUME_MM3: None if annotation.volume_mm3 is None else round(annotation.volume_mm3, DIGITS),
            **(further or {}),
        }
        return PlacedAnnotation(annotation, values)

    def _name_path(self, path: str) -> str:
        shown = os.path.relpath(path, self._catalogue.start.absolute()) if self._relative else path
        return shown.replace(os.sep, "/")


def _name_slice(contour: Contour, found: Mapping[str, Any] | None) -> Contour:
    """Return a curve with the SOP Instance UID of its slice, which sources may give by its height only."""
    return contour if found is None else replace(contour, sop_uid=found[schema.SOP_UID] or "")


def _name_annotation(annotation: Outline | Sphere) -> str:
    """Return the description of an annotation for a message."""
    reader = f", reader {annotation.reader}" if annotation.reader else ""
    return f"series {annotation.series_uid}{reader}, {annotation.name or 'a nodule'}"


def _name_image(found: Mapping[str, Any]) -> str:
    """Return the file of a slice, and its frame, for a message."""
    return str(found[PATH]) if found[schema.FRAME] is None else f"{found[PATH]}, frame {found[schema.FRAME]}"


def _name_patient(found: Mapping[str, Any]) -> str:
    """Return the patient of the header, else LIDC's number in the path."""
    if found[schema.PATIENT_ID]:
        return str(found[schema.PATIENT_ID])
    match = re.search(LIDC_PATIENT, found[PATH])
    return match.group(1) if match else ""


def _name_patients(series: SeriesSlices, patient_id: str) -> str:
    """Return why a place in a series is no place in a patient, and what to do."""
    one, other = series.patients[:2]
    known = f"{patient_id[:40]!r} is none of them" if patient_id else "the annotation names none"
    return (
        f"its series has slices of {len(series.patients)} patients, {one[:40]!r} and {other[:40]!r}, and {known}; name "
        "the patient of each annotation (patient_id), or a reconstruction that one patient has (--series)"
    )


def _advise_other(series: SeriesSlices, sphere: Sphere) -> str:
    """Return the end of a message that names another reconstruction on which a sphere lies; empty without one."""
    for stack in series.others:
        number = find_in_stack(stack, sphere.center_mm)
        if number is not None and cut_sphere(sphere, make_planes(stack.frame)[number]) is not None:
            return (
                f"; used is its reconstruction of {series.parts[0].describe()}, and the one of {stack.describe()} has "
                "a slice there (--series)"
            )
    return ""


def _is_on_slice(point_px: NDArray[np.float64], found: Mapping[str, Any]) -> bool:
    x, y = point_px
    return bool(-0.5 <= x <= found[COLUMNS] - 0.5 and -0.5 <= y <= found[ROWS] - 0.5)
