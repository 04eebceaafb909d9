"""Spheres of a table on the slices of their series, in DICOM or in volumes."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.errors import InputError, make_printable
from noduleclip.importers.annotations import RejectedAnnotation, Sphere, count_on_images
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.pixel_places import place_in_patient
from noduleclip.importers.roi_rows import make_sphere_rows
from noduleclip.importers.slice_columns import STUDY_UID
from noduleclip.importers.volume_catalogue import (
    VolumeSeries,
    WrittenSlices,
    join_catalogues,
    list_volume_slices,
    write_needed,
)
from noduleclip.importers.volume_patients import VolumePatients, remark_unknown
from noduleclip.io.text_table import read_text_frame
from noduleclip.io.volumes.volume import Volume

_SERIES_COLUMNS: Final = ("seriesuid", schema.SERIES_UID)


@dataclass(frozen=True)
class LocatedSpheres:
    """Spheres whose series were looked for.

    Attributes:
        catalogue: The slices.
        spheres: Spheres with the UIDs of their series and with patients.
        rejected: Volumes that cannot be read, and places that are none of their images.
        remarks: Oddities, a sentence each.
        left_out: Spheres of series that are here and beyond the limit.
        names: Series by the names that the source has for them, where they are others.
    """

    catalogue: Catalogue
    spheres: Sequence[Sphere]
    rejected: Sequence[RejectedAnnotation]
    remarks: Sequence[str]
    left_out: int
    names: Mapping[str, str]


def locate_spheres(
    spheres: Sequence[Sphere],
    dicom: Catalogue | None,
    images: VolumeSeries,
    *,
    source: Path,
    data_root: Path,
    out: Path,
    patients: VolumePatients,
    limit: int | None = None,
) -> LocatedSpheres:
    """Find the series of spheres, in DICOM or in volumes of the series' names.

    Of volumes the slices that the spheres lie on are written to `out` as derived DICOM.

    Args:
        spheres: Spheres of the table.
        dicom: The DICOM below `data_root`; None where there is none.
        images: The volumes below it.
        source: The table.
        data_root: Folder of the images.
        out: Folder of results.
        patients: Finds the patients of spheres that name none.
        limit: Use the spheres of the first series that are there only.

    Raises:
        InputError: None of the series is there.
        OutputError: A slice cannot be written.
    """
    held = {} if dicom is None else dict.fromkeys(dicom.series_uids())
    only = {uid: image for uid, image in images.images.items() if uid not in held}
    catalogue = join_catalogues(dicom, list_volume_slices(only, out), data_root, out)
    here = set(catalogue.series_uids())
    wanted = {sphere.series_uid or sphere.patient_id for sphere in spheres}
    chosen = choose_series(wanted - here - set(images.names), catalogue)
    known = {**chosen.series, **{name: uid for name, uid in images.names.items() if name not in held}}
    named = [
        _name(sphere, known.get(name, name), patients, only)
        for sphere in spheres
        for name in (sphere.series_uid or sphere.patient_id,)
        if name in here or name not in images.unusable
    ]
    lost = Counter(images.unusable.get(sphere.series_uid or sphere.patient_id) for sphere in spheres)
    unread = [replace(one, annotations=max(1, lost[index])) for index, one in enumerate(images.rejected)]
    if not here & {sphere.series_uid for sphere in named}:
        if images.rejected:
            raise InputError(f"{source}: none of its series can be used; first: {images.rejected[0].reason}")
        raise make_absence(source, wanted, data_root, images)
    left_out = 0
    if limit is not None:
        first = sorted(here & {sphere.series_uid for sphere in named})[:limit]
        left_out = sum(sphere.series_uid in here.difference(first) for sphere in named)
        named = [sphere for sphere in named if sphere.series_uid in first]
    axes = _remark_axes(named, here, images)
    named, elsewhere = place_in_patient(named, catalogue, images.images, source)
    slices = _write_slices(named, only, catalogue, source)
    broken = {rejected.path for rejected in slices.rejected}
    on_images = Counter(only[one.series_uid].path for one in named if one.series_uid in only)
    kept = [one for one in named if one.series_uid not in only or only[one.series_uid].path not in broken]
    remarks = [*chosen.remarks, *images.remarks, *slices.remarks, *axes, *_remark(kept, images)]
    rejected = [*unread, *elsewhere, *count_on_images(slices.rejected, on_images)]
    return LocatedSpheres(catalogue, kept, rejected, remarks, left_out, known)


def make_absence(source: Path, wanted: Collection[str], data_root: Path, images: VolumeSeries) -> InputError:
    """Return the error that none of the series that a table names is below a folder."""
    return InputError(
        f"{source}: none of its {len(wanted)} series is below {data_root}, the first is "
        f"{min(wanted, default='')[:80]}; name the folder of their DICOM, NIfTI, NRRD or MetaImage{images.hint}"
    )


def _write_slices(
    spheres: Sequence[Sphere], images: Mapping[str, Volume], catalogue: Catalogue, source: Path
) -> WrittenSlices:
    """Write the slices of volumes that spheres lie on."""
    of_images = [sphere for sphere in spheres if sphere.series_uid in images]
    rows = make_sphere_rows(of_images, catalogue, "", source=source)
    return write_needed(images, rows.frame)


def _remark_axes(spheres: Sequence[Sphere], here: Collection[str], images: VolumeSeries) -> list[str]:
    """Return a sentence on boxes in voxels of an image that is here as DICOM only."""
    boxes = {it.series_uid for it in spheres if it.pixel_place is not None and it.pixel_place.sides is not None}
    on_slices = sorted(uid for uid in boxes if uid in here and uid not in images.images)
    if not on_slices:
        return []
    remark = (
        f"boxes in voxels of {len(on_slices)} series are taken as column, row and slice of its DICOM from the lowest "
        "slice, as ITK reads it; a NIfTI file may have other axes (dcm2niix turns them): put the files that the "
        f"detector read below --data-root; first: {on_slices[0]}"
    )
    return [remark]


def _remark(spheres: Sequence[Sphere], images: VolumeSeries) -> list[str]:
    remarks = []
    if images.masks:
        remarks.append(
            f"{images.masks} volumes of the names of series are masks, of 8 bits or few whole numbers: left out "
            "(--rescale takes those of 8 bits without another image for CT)"
        )
    nameless = {sphere.series_uid for sphere in spheres if sphere.patient_id == sphere.series_uid}
    return [*remarks, *remark_unknown(nameless)]


def find_patients(lists: Mapping[str, Sequence[str]], located: LocatedSpheres, source: Path) -> dict[str, list[str]]:
    """Return the patients of each list of series.

    Args:
        lists: Series, or their names in the source, by the name of the list.
        located: The spheres with their patients.
        source: The table.

    Returns:
        Patients by the same names, sorted, without lists that have none.
    """
    rows = make_sphere_rows(located.spheres, located.catalogue, "", source=source).frame
    patients = dict(rows.select(schema.SERIES_UID, schema.PATIENT_ID).unique().rows())
    found = {
        one: sorted({patients[uid] for name in uids if (uid := located.names.get(name, name)) in patients})
        for one, uids in lists.items()
    }
    return {one: ids for one, ids in found.items() if ids}


def _name(sphere: Sphere, series_uid: str, patients: VolumePatients, images: Mapping[str, Volume]) -> Sphere:
    listed = patients.listed
    patient_id = sphere.patient_id or listed.get(series_uid, "") or listed.get(sphere.series_uid, "")
    if not patient_id and series_uid in images:
        patient_id = patients.find(series_uid, images[series_uid].path) or series_uid
    return replace(sphere, series_uid=series_uid, patient_id=patient_id)


@dataclass(frozen=True)
class ChosenSeries:
    """Series that a source names by something else than their UID.

    Attributes:
        series: Series Instance UID by the name in the source.
        remarks: What was chosen where there were several, a sentence.
    """

    series: Mapping[str, str]
    remarks: Sequence[str]


def choose_series(names: Collection[str], catalogue: Catalogue) -> ChosenSeries:
    """Find series that are named by their patient, their study or the folder of their DICOM.

    Of several series the one is taken whose stack is first by `stacks.rank_stacks`.
    """
    candidates = catalogue.find_named(names) if names else {}
    ranked = {name: catalogue.rank_series(uids) for name, uids in candidates.items()}
    series = {name: str(stacks[0].first[schema.SERIES_UID]) for name, stacks in ranked.items()}
    several = sorted(name for name, stacks in ranked.items() if len(stacks) > 1)
    if not several:
        return ChosenSeries(series, ())
    first = ranked[several[0]]
    studies = len({stack.first[STUDY_UID] for stack in first})
    of_studies = f" of {studies} studies" if studies > 1 else ""
    remark = (
        f"{len(several)} names in the source have several series; used is the one with the thinnest slices, then by "
        f"kernel and description (--series picks another); first: {make_printable(several[0])[:40]!r} with "
        f"{len(first)} series{of_studies}: used is {first[0].describe()}, not used {first[1].describe()}"
    )
    return ChosenSeries(series, (remark,))


def load_patients(path: Path) -> dict[str, str]:
    """Load the patient of each series from a CSV with the columns seriesuid and patient_id.

    Raises:
        InputError: The file is no such table, or names two patients for a series.
    """
    frame = read_text_frame(path, "table of patients", (*_SERIES_COLUMNS, schema.PATIENT_ID))
    columns = {name.casefold(): name for name in frame.columns}
    series = next((columns[name] for name in _SERIES_COLUMNS if name in columns), None)
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
