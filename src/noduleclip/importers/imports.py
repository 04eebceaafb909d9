"""Collections other than LIDC's XML, each with its slices, to marks that have slices."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from noduleclip import schema
from noduleclip.errors import InputError, SliceError
from noduleclip.importers.annotations import Outline, Sphere
from noduleclip.importers.catalogue import PATH, Catalogue
from noduleclip.importers.dicom_seg import Segment, read_segments
from noduleclip.importers.dicom_sr import Report, read_reports
from noduleclip.importers.meta_catalogue import MetaSeries, join_catalogues, list_meta_slices, write_needed
from noduleclip.importers.metaimage import MetaImage
from noduleclip.importers.rejected import RejectedAnnotation
from noduleclip.importers.roi_rows import make_sphere_rows
from noduleclip.importers.segment_annotations import enclose_segment, match_reports, name_readers, outline_segment
from noduleclip.io.text_table import read_text_frame

SEGMENTATION, REPORT = "SEG", "SR"
_LINES: Final = ("seriesuid", schema.SERIES_UID)


@dataclass(frozen=True)
class Imported:
    """What a collection holds.

    Attributes:
        catalogue: The slices.
        spheres: Its spheres, with patients.
        outlines: Its outlines.
        rejected: What of it cannot be used.
        remarks: What a user should know of it, a sentence each.
        absent: Segments of series that are not here.
        left_out: Spheres of series that are here and beyond the limit.
    """

    catalogue: Catalogue
    spheres: Sequence[Sphere] = ()
    outlines: Sequence[Outline] = ()
    rejected: Sequence[RejectedAnnotation] = ()
    remarks: Sequence[str] = ()
    absent: int = 0
    left_out: int = 0


def import_spheres(
    spheres: Sequence[Sphere],
    dicom: Catalogue | None,
    images: MetaSeries,
    *,
    source: Path,
    data_root: Path,
    out: Path,
    patients: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> Imported:
    """Find the series of spheres, in DICOM or in MetaImages of the series' names.

    Of MetaImages the slices that the spheres lie on are written to `out` as derived DICOM.

    Args:
        spheres: What the table says.
        dicom: The DICOM below `data_root`; None where there is none.
        images: The MetaImages below it.
        source: The table.
        data_root: Folder of the images.
        out: Folder of results.
        patients: Patient by series, for spheres that name none.
        limit: Take the spheres of the first series that are there only.

    Raises:
        InputError: None of the series is there.
        OutputError: A slice cannot be written.
    """
    held = {} if dicom is None else dict.fromkeys(dicom.series_uids())
    only = {uid: image for uid, image in images.images.items() if uid not in held}
    catalogue = join_catalogues(dicom, list_meta_slices(only, out), data_root, out)
    here = set(catalogue.series_uids())
    wanted = {sphere.series_uid for sphere in spheres}
    folders = _find_folders(wanted - here, catalogue)
    named = [
        _name(sphere, folders.get(sphere.series_uid, sphere.series_uid), patients or {}, only) for sphere in spheres
    ]
    if not here & {sphere.series_uid for sphere in named}:
        raise InputError(
            f"{source}: none of its {len(wanted)} series is below {data_root}, the first is "
            f"{min(wanted, default='')[:80]}; name the folder of their DICOM or .mhd (NIfTI is not read: convert it, "
            "or name the images that it was made from)"
        )
    left_out = 0
    if limit is not None:
        first = sorted(here & {sphere.series_uid for sphere in named})[:limit]
        left_out = sum(sphere.series_uid in here.difference(first) for sphere in named)
        named = [sphere for sphere in named if sphere.series_uid in first]
    broken = _write_slices(named, only, catalogue, source)
    lost = {rejected.path.name[:-4] for rejected in broken}
    kept = [sphere for sphere in named if sphere.series_uid not in lost]
    remarks = _remark(kept, images)
    return Imported(catalogue, kept, rejected=[*images.rejected, *broken], remarks=remarks, left_out=left_out)


def _write_slices(
    spheres: Sequence[Sphere], images: Mapping[str, MetaImage], catalogue: Catalogue, source: Path
) -> list[RejectedAnnotation]:
    """Write the slices of MetaImages that spheres lie on, and give the images that cannot be read."""
    of_images = [sphere for sphere in spheres if sphere.series_uid in images]
    rows = make_sphere_rows(of_images, catalogue, "", source=source)
    return write_needed(images, rows.frame)[1]


def _remark(spheres: Sequence[Sphere], images: MetaSeries) -> list[str]:
    remarks = []
    if images.masks:
        remarks.append(f"{images.masks} images of 8 bits bear the name of a series: masks, left out")
    nameless = {sphere.series_uid for sphere in spheres if sphere.patient_id == sphere.series_uid}
    if nameless:
        remarks.append(
            f"the patients of {len(nameless)} series are not known, so each counts as a patient of its own; two series "
            "of one patient may come to lie in two parts of the split (--patients tells them)"
        )
    return remarks


def name_parts(parts: Mapping[str, Sequence[str]], imported: Imported, source: Path) -> dict[str, list[str]]:
    """Return the patients of each list of series.

    Args:
        parts: Series, or what they are called in the source, by the name of the list.
        imported: The spheres with their patients.
        source: The table.

    Returns:
        Patients by the same names, sorted, without lists that have none.
    """
    rows = make_sphere_rows(imported.spheres, imported.catalogue, "", source=source).frame
    patients = dict(rows.select(schema.SERIES_UID, schema.PATIENT_ID).unique().rows())
    names = {uid for uids in parts.values() for uid in uids}
    folders = _find_folders(names - set(patients), imported.catalogue)
    found = {
        part: sorted({patients[uid] for name in uids if (uid := folders.get(name, name)) in patients})
        for part, uids in parts.items()
    }
    return {part: ids for part, ids in found.items() if ids}


def _name(sphere: Sphere, series_uid: str, patients: Mapping[str, str], images: Collection[str]) -> Sphere:
    patient_id = sphere.patient_id or patients.get(series_uid, "") or (series_uid if series_uid in images else "")
    return replace(sphere, series_uid=series_uid, patient_id=patient_id)


def _find_folders(names: Collection[str], catalogue: Catalogue) -> dict[str, str]:
    """Find series that are named by the folder of their DICOM; one that two series lie in names none."""
    if not names:
        return {}
    series_of: dict[str, set[str]] = defaultdict(set)
    for series_uid, path in catalogue.slices.select(schema.SERIES_UID, PATH).iter_rows():
        folder = PurePath(path).parent.name
        if folder in names:
            series_of[folder].add(series_uid)
    return {folder: next(iter(uids)) for folder, uids in series_of.items() if len(uids) == 1}


def read_patients(path: Path) -> dict[str, str]:
    """Read which patient each series is of, from a CSV with the columns seriesuid and patient_id.

    Raises:
        InputError: It is no such table, or names two patients for a series.
    """
    frame = read_text_frame(path, "table of patients", (*_LINES, schema.PATIENT_ID))
    columns = {name.casefold(): name for name in frame.columns}
    series = next((columns[name] for name in _LINES if name in columns), None)
    patient = columns.get(schema.PATIENT_ID)
    if series is None or patient is None:
        raise InputError(
            f"{path}: needs the columns seriesuid and {schema.PATIENT_ID}, found {', '.join(columns)[:200]}"
        )
    found: dict[str, str] = {}
    for row, (uid, name) in enumerate(frame.select(series, patient).iter_rows(), 1):
        uid, name = (uid or "").strip(), (name or "").strip()
        if not uid or not name:
            continue
        if found.setdefault(uid, name) != name:
            raise InputError(
                f"{path}: row {row}: series {uid[:80]} is of {name[:40]!r}, and before of {found[uid][:40]!r}"
            )
    return found


def import_segments(catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None] = lambda: None) -> Imported:
    """Make outlines of the segmentations of a folder, rated as the reports there say.

    Raises:
        InputError: There is no segmentation.
    """
    segments, reports, rejected = _read_files(catalogue, max_pixels, on_file)
    matched, remarks = _match(segments, reports)
    outlines: list[Outline] = []
    absent = 0
    for series_uid, here in _by_series(segments, catalogue).items():
        series = catalogue.find_series(series_uid)
        if series is None:
            absent += len(here)
            continue
        names = name_readers(here)
        sop_uids = series.frame[schema.SOP_UID].to_list()
        for segment in here:
            key = (segment.seg_uid, segment.number)
            made = outline_segment(segment, series.planes, sop_uids, names[key], matched.get(key))
            if isinstance(made, Outline):
                outlines.append(replace(made, series_uid=series_uid))
            else:
                rejected.append(made)
    return Imported(catalogue, outlines=outlines, rejected=rejected, remarks=remarks, absent=absent)


def import_reports(catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None] = lambda: None) -> Imported:
    """Take the diameters and ratings of the reports of a folder, in the middle of the segments that they are on.

    Raises:
        InputError: There is no report, or no segmentation that one refers to.
    """
    segments, reports, rejected = _read_files(catalogue, max_pixels, on_file)
    matched, remarks = _match(segments, reports)
    if not matched:
        raise InputError(
            f"{catalogue.root}: no report (SR) there is on a segmentation (SEG) that is there, too, and a report alone "
            f"does not say where a nodule is ({len(reports)} measurement groups, {len(segments)} segments)"
        )
    spheres: list[Sphere] = []
    for series_uid, here in _by_series(segments, catalogue).items():
        names = name_readers(here)
        for segment in here:
            key = (segment.seg_uid, segment.number)
            made = enclose_segment(segment, names[key], matched[key]) if key in matched else None
            if made is not None:
                spheres.append(replace(made, series_uid=series_uid))
    if len(spheres) < len(matched):
        remarks.append(f"{len(matched) - len(spheres)} measurement groups have no diameter in mm and are left out")
    return Imported(catalogue, spheres, rejected=rejected, remarks=remarks)


def _read_files(
    catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None]
) -> tuple[list[Segment], list[Report], list[RejectedAnnotation]]:
    """Read all segmentations and reports of a folder."""
    segments: list[Segment] = []
    reports: list[Report] = []
    rejected: list[RejectedAnnotation] = []
    for path in catalogue.list_other(SEGMENTATION):
        try:
            segments += read_segments(path, max_pixels)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        on_file()
    for path in catalogue.list_other(REPORT):
        try:
            reports += read_reports(path)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        on_file()
    if not segments:
        raise InputError(
            f"{catalogue.root}: no usable segmentation (SEG) among {catalogue.others.height} DICOM files that are no "
            f"CT{f'; {rejected[0].reason}' if rejected else ''}; it must lie below the same folder as the CT"
        )
    return segments, reports, rejected


def _match(segments: Sequence[Segment], reports: Sequence[Report]) -> tuple[dict[tuple[str, int], Report], list[str]]:
    matched, strangers = match_reports(segments, reports)
    remarks = []
    if strangers:
        remarks.append(f"{strangers} measurement groups are on segments that are not here")
    if reports and len(matched) < len(segments):
        remarks.append(f"{len(segments) - len(matched)} of {len(segments)} segments have no report, so no ratings")
    return matched, remarks


def _by_series(segments: Sequence[Segment], catalogue: Catalogue) -> dict[str, list[Segment]]:
    """Group segments by the series that they say, else by that of the first slice that they are drawn on."""
    found: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        series_uid = segment.series_uid
        if not series_uid:
            slices = (catalogue.find_sop(mask.sop_uid) for mask in segment.planes if mask.sop_uid)
            series_uid = next((str(row[schema.SERIES_UID]) for row in slices if row is not None), "")
        found[series_uid].append(segment)
    return dict(sorted(found.items()))
