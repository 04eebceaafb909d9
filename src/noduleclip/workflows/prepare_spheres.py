"""Sources of places and boxes without outlines that `prepare` reads: a request class for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError, UsageError
from noduleclip.importers.annotations import Annotations, RejectedAnnotation, Sphere
from noduleclip.importers.boxes import BoxMode
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.coordinates import Coordinates
from noduleclip.importers.monai import TEST, TRAINING, VALIDATION, read_data_list
from noduleclip.importers.nndetection import read_nndetection
from noduleclip.importers.point_presets import AUTO, NONE
from noduleclip.importers.point_table import PointOptions, read_point_table
from noduleclip.importers.sphere_collection import find_patients, load_patients, locate_spheres, make_absence
from noduleclip.importers.volume_catalogue import find_volumes
from noduleclip.importers.volume_patients import VolumePatients, compile_patient_pattern
from noduleclip.io.volumes.volume import Rescale
from noduleclip.workflows.prepare_request import PrepareRequest
from noduleclip.workflows.reporter import Reporter

_PATIENT_LISTS: Final = {
    TRAINING: schema.TRAIN_PATIENTS,
    VALIDATION: schema.VAL_PATIENTS,
    TEST: schema.TEST_PATIENTS,
}
_LUNA16_KIND: Final = "volume"


@dataclass(frozen=True, kw_only=True)
class SphereRequest(PrepareRequest):
    """Places in the DICOM series or volumes below a folder.

    Attributes:
        data_root: Folder of the DICOM files or volumes, at any depth.
        min_score: Least score of a detector; None = places of any score and without one.
        patients: CSV of the patient of each series; None = from the headers.
        patient_pattern: Regular expression whose first group is the patient, searched in the path of a volume.
        rescale: Slope and intercept that make HU of the values of volumes; None = they are HU.
    """

    data_root: Path
    min_score: float | None = None
    patients: Path | None = None
    patient_pattern: str = ""
    rescale: Rescale | None = None


@dataclass(frozen=True, kw_only=True)
class SphereCsvRequest(SphereRequest):
    """A CSV of places with or without diameters, such as LUNA16's `annotations.csv`.

    Attributes:
        table: The CSV.
        points: How it is read.
    """

    table: Path
    points: PointOptions = field(default_factory=PointOptions)

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the table, then the headers of its series."""
        found = read_point_table(self.table, self.points)
        if found.title and self.points.preset == AUTO:
            reporter.info(f"{self.table}: read as a table of {found.title}; --preset none reads known names only")
        return _load_spheres(
            self,
            PlaceSource(
                self.table, found.spheres, found.rejected, remarks=found.remarks, counts=found.counts,
                diameter_kind=found.diameter_kind,
            ),
            reporter,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MonaiRequest(SphereRequest):
    """A detection data list of MONAI, whose lists become the splits, or the results of a detector.

    Attributes:
        datalist: The JSON file.
        box_mode: Order of the numbers of a box.
        coordinates: What the boxes are in: LPS, RAS or voxels.
        labels: Labels of the boxes to use; none = all.
    """

    datalist: Path
    box_mode: BoxMode = BoxMode.CCCWHD
    coordinates: Coordinates = Coordinates.LPS
    labels: Sequence[str] = ()

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the list, then the headers of its series."""
        found = read_data_list(
            self.datalist, self.box_mode, self.coordinates, labels=self.labels, min_score=self.min_score
        )
        source = PlaceSource(
            self.datalist, found.spheres, found.rejected, lists=found.lists, remarks=found.remarks, counts=found.counts,
            diameter_kind=schema.UNKNOWN_KIND if found.has_scores else _LUNA16_KIND,
        )  # fmt: skip
        return _load_spheres(self, source, reporter)


@dataclass(frozen=True, kw_only=True)
class NnDetectionRequest(SphereRequest):
    """Results of nnDetection.

    Attributes:
        results: Folder of the JSON files of nndet_boxes2nii, one of these files, or the CSV of its script for LUNA16.
        labels: Labels of the boxes to use; none = all.
    """

    results: Path
    labels: Sequence[str] = ()

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the results, then the headers of their series."""
        if self.results.suffix.lower() == ".csv":
            if self.labels:
                raise UsageError(f"--labels: {self.results} is a table of places without labels; leave it out")
            table = read_point_table(self.results, PointOptions(preset=NONE))
            return _load_spheres(
                self,
                PlaceSource(self.results, table.spheres, table.rejected, remarks=table.remarks, counts=table.counts),
                reporter,
            )
        found = read_nndetection(self.results, labels=self.labels, min_score=self.min_score)
        counts = found.placed.counts + Counter({"files of results": found.cases})
        source = PlaceSource(
            self.results, found.placed.spheres, [*found.placed.rejected, *found.unread], remarks=found.placed.remarks,
            counts=counts,
        )  # fmt: skip
        return _load_spheres(self, source, reporter)


@dataclass(frozen=True)
class PlaceSource:
    """Places as a source has them, before their series are found.

    Attributes:
        path: The file.
        spheres: The places.
        rejected: Entries that give none.
        lists: Series by the source's own lists; None where it has none.
        remarks: Oddities of the source.
        counts: Numbers for the summary.
        diameter_kind: Measure of the diameters, where the source says so.
    """

    path: Path
    spheres: Sequence[Sphere]
    rejected: Sequence[RejectedAnnotation]
    lists: Mapping[str, Sequence[str]] | None = None
    remarks: Sequence[str] = ()
    counts: Counter[str] = field(default_factory=Counter)
    diameter_kind: str | None = None


def _load_spheres(request: SphereRequest, source: PlaceSource, reporter: Reporter) -> tuple[Catalogue, Annotations]:
    """Find the series of places among the DICOM and the volumes below a folder."""
    path, data_root = source.path, request.data_root
    if not source.spheres:
        rejected = source.rejected
        reason = f"; first: {rejected[0].reason}" if rejected else f"; {_list_counts(source.counts)}"
        raise InputError(f"{path}: none of its {len(rejected):,} places can be used{reason}")
    spheres, counts = _keep_scored(source, request.min_score)
    listed = load_patients(request.patients) if request.patients else {}
    patients = VolumePatients(data_root, listed, compile_patient_pattern(request.patient_pattern))
    names = {sphere.series_uid or sphere.patient_id for sphere in spheres}
    images = find_volumes(data_root, names, MAX_PIXELS, request.rescale)
    dicom: Catalogue | None = None
    try:
        dicom = request.load_catalogue(data_root, reporter)
    except InputError as error:
        if images.rejected and not images.images:
            raise InputError(f"{images.rejected[0].reason}; and {error}") from error
        if images.present and not images.images:
            raise make_absence(path, names, data_root, images) from error
        if not images.images:
            raise
    located = locate_spheres(
        spheres, dicom, images, source=path, data_root=data_root, out=request.out, patients=patients,
        limit=request.limit,
    )  # fmt: skip
    splits, remarks = None, [*source.remarks, *located.remarks]
    if source.lists is not None:
        splits, remark = _split_by_lists(find_patients(source.lists, located, path))
        remarks += [remark] if remark else []
    return located.catalogue, Annotations(
        source=path,
        spheres=located.spheres,
        rejected=[*source.rejected, *located.rejected],
        counts=Counter({"places in the table": len(source.spheres), "series that are volumes": len(images.images)})
        + source.counts
        + counts,
        remarks=remarks,
        reported=images.closed,
        splits=splits,
        left_out=located.left_out,
        diameter_kind=source.diameter_kind,
        rescale=request.rescale,
    )


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "it has none"


def _keep_scored(source: PlaceSource, min_score: float | None) -> tuple[Sequence[Sphere], Counter[str]]:
    """Leave out the places below a score.

    Returns:
        The others, and how many were left out.

    Raises:
        UsageError: The source has no scores.
        InputError: None is left.
    """
    if min_score is None:
        return source.spheres, Counter()
    scores = [sphere.score for sphere in source.spheres if sphere.score is not None]
    if not scores:
        raise UsageError(f"--min-score: {source.path} has no scores; leave it out, or name their column with --map")
    kept = [sphere for sphere in source.spheres if sphere.score is not None and sphere.score >= min_score]
    if not kept:
        raise InputError(
            f"{source.path}: none of its {len(source.spheres):,} places has a score of {min_score:g} or more; the "
            f"highest is {max(scores):g}"
        )
    return kept, Counter({f"places below the score {min_score:g}, left out": len(source.spheres) - len(kept)})


def _split_by_lists(patients_of: Mapping[str, Sequence[str]]) -> tuple[dict[str, list[str]] | None, str]:
    """Return the splits that a source's lists are, or none where a patient is in two of them, and a remark."""
    counts = Counter(patient for patients in patients_of.values() for patient in patients if patient)
    shared = sorted(patient for patient, count in counts.items() if count > 1)
    if shared:
        return None, f"{len(shared)} patient(s) are in two of its lists, first {shared[0]}; new splits are made"
    if len(patients_of) < 2:
        return None, f"only its list {', '.join(patients_of)} has nodules here; new splits are made"
    return {_PATIENT_LISTS[name]: [one for one in patients if one] for name, patients in patients_of.items()}, ""
