"""Spheres and points from measurement groups that carry their own regions."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode
from noduleclip.importers.annotations import RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.dicom_sr import Report
from noduleclip.importers.report_regions import Extent, Region, measure_region
from noduleclip.importers.series_slices import find_in_stack
from noduleclip.importers.slice_columns import FRAME_OF_REFERENCE
from noduleclip.io.roi_table import MAX_DIAMETER_MM


@dataclass(frozen=True)
class PlacedReports:
    """Measurement groups on the CT of a folder.

    Attributes:
        spheres: A sphere or point for each group that can be used.
        rejected: Groups whose region or diameter cannot be used.
        absent: Number of groups on images that are not here.
        drawn: Number of diameters that follow from a region, as none is reported.
        points: Number of groups without a diameter.
        estimated: Number of diameters that are marked as estimates and are not used.
        chosen: Number of places in space that lie on several series.
    """

    spheres: list[Sphere]
    rejected: list[RejectedAnnotation]
    absent: int
    drawn: int
    points: int
    estimated: int
    chosen: int


def place_reports(reports: Sequence[Report], catalogue: Catalogue) -> PlacedReports:
    """Place measurement groups with regions on the CT of a folder.

    The place is the middle of the region, of several curves weighted by area. The diameter is the reported one, else a
    long axis or the length of a line, else what follows from the region, unless the report has an estimate.

    Args:
        reports: Groups with `regions` or `bad_region`.
        catalogue: The CT.
    """
    placer = _Placer(catalogue)
    found = [(report, placer.place(report)) for report in reports]
    spheres = name_reported([(report, sphere) for report, sphere in found if sphere is not None])
    counts = placer.counts
    return PlacedReports(
        spheres,
        placer.rejected,
        absent=counts["absent"],
        drawn=counts["drawn"],
        points=counts["points"],
        estimated=counts["estimated"],
        chosen=counts["chosen"],
    )


class _Placer:
    """Places groups one by one, and counts what became of them."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.rejected: list[RejectedAnnotation] = []
        self.counts: Counter[str] = Counter()

    def place(self, report: Report) -> Sphere | None:
        """Return the sphere of a group; None where it has none."""
        if not report.regions:
            self._refuse(report, RejectCode.BAD_REPORT, report.bad_region)
            return None
        for region in report.regions:
            if self._lacks_frame(region):
                fact = f"its region names no frame of image {region.sop_uid}, which has several"
                self._refuse(report, RejectCode.BAD_REPORT, fact)
                return None
        located = [one for one in self._locate(report) if one is not None]
        if not located:
            self.counts["absent"] += 1
            return None
        series_uid, sop_uid, _ = located[0]
        extents = [extent for uid, _, extent in located if uid == series_uid]
        diameter_mm = report.size_mm
        if math.isnan(diameter_mm) and math.isfinite(report.estimated_mm):
            self.counts["estimated"] += 1
        elif math.isnan(diameter_mm):
            diameter_mm = max((e.diameter_mm for e in extents if math.isfinite(e.diameter_mm)), default=math.nan)
            self.counts["drawn"] += math.isfinite(diameter_mm)
        self.counts["points"] += math.isnan(diameter_mm)
        if math.isfinite(diameter_mm) and not 0 < diameter_mm <= MAX_DIAMETER_MM:
            reason = f"its diameter is {diameter_mm:g} mm, not in (0, {MAX_DIAMETER_MM:g}] mm"
            self._refuse(report, RejectCode.NO_DIAMETER, reason)
            return None
        x, y, z = _find_middle(extents)
        return Sphere(
            series_uid=series_uid,
            center_mm=(x, y, z),
            diameter_mm=None if math.isnan(diameter_mm) else diameter_mm,
            name=_name_group(report),
            ratings=report.ratings,
            diameter_kind=report.diameter_kind,
            sop_uid=sop_uid if len(extents) == 1 else "",
        )

    def _lacks_frame(self, region: Region) -> bool:
        found = self._catalogue.find_sop(region.sop_uid)
        return found is not None and found[schema.FRAME] is not None and not region.names_frame

    def _refuse(self, report: Report, code: RejectCode, reason: str) -> None:
        where = f"{report.path}: {_name_group(report)}"
        self.rejected.append(RejectedAnnotation(report.path, code, f"{where}: {reason}"))

    def _locate(self, report: Report) -> list[tuple[str, str, Extent] | None]:
        """Return series, slice and extent of each region of a group; None for one on an image that is not here."""
        located: list[tuple[str, str, Extent] | None] = []
        for region in report.regions:
            if region.frame_of_reference_uid:
                extent = measure_region(region)
                located.append(self._locate_in_space(region.frame_of_reference_uid, extent, report))
                continue
            found, plane = self._catalogue.find_sop(region.sop_uid), self._catalogue.find_plane(region.sop_uid)
            if found is None or plane is None:
                located.append(None)
            else:
                located.append((found[schema.SERIES_UID], region.sop_uid, measure_region(region, plane)))
        return located

    def _locate_in_space(self, frame_uid: str, extent: Extent, report: Report) -> tuple[str, str, Extent] | None:
        """Return series, slice and extent of a region in space; None where no slice of its frame of reference is there.

        The slice is named only where its series has several frames of reference.
        """
        series_uid = self._find_series(frame_uid, extent, report)
        series = self._catalogue.find_series(series_uid)
        if series is None:
            return None
        stacks = [*series.parts, *series.others]
        if all(stack.first[FRAME_OF_REFERENCE] == frame_uid for stack in stacks):
            return series_uid, "", extent
        for stack in stacks:
            number = find_in_stack(stack, extent.center_mm.tolist())
            if stack.first[FRAME_OF_REFERENCE] == frame_uid and number is not None:
                return series_uid, str(stack.frame[number, schema.SOP_UID]), extent
        return None

    def _find_series(self, frame_of_reference_uid: str, extent: Extent, report: Report) -> str:
        """Return the series that a place in space lies on; empty where there is none.

        Of several it is one that the report names as its evidence and that has a slice there; of those the one that is
        first by `stacks.rank_stacks`.
        """
        here = self._catalogue.find_frame_of_reference(frame_of_reference_uid)
        here = [uid for uid in here if uid in report.evidence] or here
        if len(here) < 2:
            return here[0] if here else ""
        center_mm = extent.center_mm.tolist()
        found = ((uid, self._catalogue.find_series(uid)) for uid in here)
        reaching = [uid for uid, series in found if series is not None and series.find_nearest(center_mm) is not None]
        self.counts["chosen"] += 1
        return str(self._catalogue.rank_series(reaching or here)[0].first[schema.SERIES_UID])


def _find_middle(extents: Sequence[Extent]) -> tuple[float, float, float]:
    """Return the middle of the regions of a group, weighted by area where all have one."""
    areas_mm2 = np.array([extent.area_mm2 for extent in extents])
    weights = areas_mm2 if (areas_mm2 > 0).all() else None
    x, y, z = np.average([extent.center_mm for extent in extents], axis=0, weights=weights).tolist()
    return x, y, z


def _name_group(report: Report) -> str:
    named = f" ({report.name[:40]!r})" if report.name else ""
    return f"measurement group {report.number}{named}"


def choose_kind(spheres: Sequence[Sphere], given: str, root: Path) -> tuple[str, list[str]]:
    """Return what the diameters of reports are, and a remark where that is not what the reports say.

    Args:
        spheres: Nodules of reports.
        given: What they are, whatever the reports say; empty = what they say, and of reports that do not say it
            pylidc's diameter, as in the standardised LIDC annotations.
        root: The folder of the reports, for messages.

    Raises:
        InputError: They are of several kinds.
    """
    sized = [sphere for sphere in spheres if sphere.diameter_mm is not None]
    if given:
        others = Counter(it.diameter_kind for it in sized if it.diameter_kind not in ("", schema.UNKNOWN_KIND, given))
        return given, [
            f"{count:,} diameters are of kind {kind} as their reports say, recorded is {given} (--diameter-kind)"
            for kind, count in others.most_common()
        ]
    counts = Counter(sphere.diameter_kind or str(DiameterKind.LARGEST_IN_SLICE) for sphere in sized)
    if len(counts) > 1:
        found = " and ".join(f"{count:,} of kind {kind}" for kind, count in counts.most_common())
        raise InputError(
            f"{root}: its reports have diameters of several kinds, {found}, and a table holds one kind: prepare the "
            "reports of each kind by themselves, or name one for all, such as --diameter-kind unknown"
        )
    return next(iter(counts), DiameterKind.LARGEST_IN_SLICE), []


def name_reported(found: Sequence[tuple[Report, Sphere]]) -> list[Sphere]:
    """Name the nodules and readers of spheres, by the tracking UIDs of their groups.

    The groups of a nodule share its tracking UID. A document is a reader; of its groups on one slice each is another
    one. Groups that share none have nodules and readers that are not known.
    """
    of_nodule: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, (report, sphere) in enumerate(found):
        if report.tracking_uid:
            of_nodule[sphere.series_uid, report.tracking_uid].append(at)
    spheres = [sphere for _, sphere in found]
    for (_, tracking_uid), here in of_nodule.items():
        if len(here) < 2:
            continue
        drawn: Counter[tuple[Path, str]] = Counter()
        numbers: dict[tuple[Path, int], int] = {}
        for at in here:
            report, sphere = found[at]
            place = (report.path, sphere.sop_uid or f"{sphere.center_mm[2]:.2f}")
            reader = numbers.setdefault((report.path, drawn[place]), len(numbers) + 1)
            drawn[place] += 1
            spheres[at] = replace(spheres[at], nodule_id=tracking_uid, reader=str(reader))
    return spheres
