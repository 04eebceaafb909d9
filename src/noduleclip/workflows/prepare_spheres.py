"""Sources of places and boxes without outlines that `prepare` reads: a request class for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError
from noduleclip.importers.annotations import Annotations, RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.monai import TEST, TRAINING, VALIDATION, BoxMode, read_data_list
from noduleclip.importers.sphere_collection import find_patients, load_patients, locate_spheres
from noduleclip.importers.volume_catalogue import find_volumes
from noduleclip.importers.world_csv import Coordinates, read_world_csv
from noduleclip.workflows.prepare import PrepareRequest
from noduleclip.workflows.reporter import Reporter

_PATIENT_LISTS: Final = {
    TRAINING: schema.TRAIN_PATIENTS,
    VALIDATION: schema.VAL_PATIENTS,
    TEST: schema.TEST_PATIENTS,
}


@dataclass(frozen=True, kw_only=True)
class SphereCsvRequest(PrepareRequest):
    """A CSV of world coordinates and diameters, such as LUNA16's `annotations.csv`.

    Attributes:
        table: The CSV.
        data_root: Folder of the DICOM files or volumes, at any depth.
        coordinates: Direction of the axes.
        patients: CSV of the patient of each series; None = from the headers.
    """

    table: Path
    data_root: Path
    coordinates: Coordinates = Coordinates.LPS
    patients: Path | None = None

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the table, then the headers of its series."""
        spheres, rejected = read_world_csv(self.table, self.coordinates)
        return _load_spheres(self, self.table, self.data_root, self.patients, spheres, rejected, None, (), reporter)


@dataclass(frozen=True, kw_only=True)
class MonaiRequest(PrepareRequest):
    """A detection data list of MONAI, whose lists become the splits.

    Attributes:
        datalist: The JSON file.
        data_root: Folder of the DICOM files or volumes, at any depth.
        box_mode: Order of the numbers of a box.
        coordinates: Direction of the axes.
        patients: CSV of the patient of each series; None = from the headers.
    """

    datalist: Path
    data_root: Path
    box_mode: BoxMode = BoxMode.CCCWHD
    coordinates: Coordinates = Coordinates.LPS
    patients: Path | None = None

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the list, then the headers of its series."""
        found = read_data_list(self.datalist, self.box_mode, self.coordinates)
        return _load_spheres(
            self, self.datalist, self.data_root, self.patients, found.spheres, found.rejected, found.lists,
            found.remarks, reporter,
        )  # fmt: skip


def _load_spheres(
    request: PrepareRequest,
    source: Path,
    data_root: Path,
    patients_csv: Path | None,
    spheres: Sequence[Sphere],
    rejected: Sequence[RejectedAnnotation],
    lists: Mapping[str, Sequence[str]] | None,
    source_remarks: Sequence[str],
    reporter: Reporter,
) -> tuple[Catalogue, Annotations]:
    """Find the series of spheres among the DICOM and the volumes below a folder.

    Args:
        request: The shared settings.
        source: File of the spheres.
        data_root: Folder of the images.
        patients_csv: Patients of the series.
        spheres: The spheres.
        rejected: Entries of the source that give no sphere.
        lists: Series by the source's own lists; None where it has none.
        source_remarks: Oddities of the source.
        reporter: Receives messages and progress.
    """
    if not spheres:
        raise InputError(f"{source}: none of its {len(rejected):,} places can be used; first: {rejected[0].reason}")
    patients = load_patients(patients_csv) if patients_csv else {}
    images = find_volumes(data_root, {sphere.series_uid for sphere in spheres}, MAX_PIXELS)
    dicom: Catalogue | None = None
    try:
        dicom = request.load_catalogue(data_root, reporter)
    except InputError as error:
        if images.rejected and not images.images:
            raise InputError(f"{images.rejected[0].reason}; and {error}") from error
        if not images.images:
            raise
    located = locate_spheres(
        spheres, dicom, images, source=source, data_root=data_root, out=request.out, patients=patients,
        limit=request.limit,
    )  # fmt: skip
    splits, remarks = None, [*source_remarks, *located.remarks]
    if lists is not None:
        splits, remark = _split_by_lists(find_patients(lists, located, source))
        remarks += [remark] if remark else []
    return located.catalogue, Annotations(
        source=source,
        spheres=located.spheres,
        rejected=[*rejected, *located.rejected],
        counts=Counter({"places in the table": len(spheres), "series that are volumes": len(images.images)}),
        remarks=remarks,
        reported=images.closed,
        splits=splits,
        left_out=located.left_out,
    )


def _split_by_lists(patients_of: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]] | None, str]:
    """Return the splits that a source's lists are, or none where a patient is in two of them, and a remark."""
    counts = Counter(patient for patients in patients_of.values() for patient in patients if patient)
    shared = sorted(patient for patient, count in counts.items() if count > 1)
    if shared:
        return None, f"{len(shared)} patient(s) are in two of its lists, first {shared[0]}; new splits are made"
    if len(patients_of) < 2:
        return None, f"only its list {', '.join(patients_of)} has nodules here; new splits are made"
    return {_PATIENT_LISTS[name]: [one for one in patients if one] for name, patients in patients_of.items()}, ""
