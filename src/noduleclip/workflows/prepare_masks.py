"""Masks and structure sets that `prepare` reads."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import polars as pl

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError, UsageError
from noduleclip.importers.annotations import Annotations
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.mask_collection import load_masks
from noduleclip.importers.mask_files import MaskFiles, find_masks, keep_first
from noduleclip.importers.mask_voxels import MaskRules
from noduleclip.importers.rtstruct_collection import (
    NODULE_ROIS,
    STRUCTURE_SET,
    compile_roi_pattern,
    load_structure_sets,
)
from noduleclip.importers.segment_collection import SEGMENTATION, load_segments
from noduleclip.importers.slice_columns import PATH
from noduleclip.importers.sphere_collection import load_patients
from noduleclip.importers.volume_patients import VolumePatients, compile_patient_pattern
from noduleclip.io.volumes.volume import Rescale
from noduleclip.workflows.prepare_request import PrepareRequest
from noduleclip.workflows.reporter import Reporter

_MASK_CATALOGUE: Final = ".catalogue-masks"


@dataclass(frozen=True, kw_only=True)
class MaskRequest(PrepareRequest):
    """Masks of nodules beside their images, as volumes or DICOM Segmentations.

    Attributes:
        data_root: Folder of the images: DICOM files or volumes, at any depth; or one volume.
        masks: Folder of the masks, or one mask; it may be that of the images.
        pairs: CSV of image and mask; None = by name.
        rules: Which voxels of a mask are nodules.
        patients: CSV of the patient of each series; None = from headers and paths.
        patient_pattern: Regular expression whose first group is the patient in the path of a volume; empty = none.
        rescale: Slope and intercept that make HU of the values of volumes; None = they are HU.
    """

    data_root: Path
    masks: Path
    pairs: Path | None = None
    rules: MaskRules = field(default_factory=MaskRules)
    patients: Path | None = None
    patient_pattern: str = ""
    rescale: Rescale | None = None

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Find the image of each mask, then read the masks."""
        if self.rules.threshold is not None and self.rules.labels:
            raise UsageError("--threshold makes a mask of one value, --labels chooses values; give one of them")
        listed = load_patients(self.patients) if self.patients else {}
        patients = VolumePatients(self.data_root, listed, compile_patient_pattern(self.patient_pattern))
        dicom, no_dicom = self._read_dicom(reporter)
        segmentations = self._find_segmentations(dicom, reporter)
        files = find_masks(self.data_root, self.masks, dicom, self.pairs, any_name=bool(self.rules.labels))
        if not files.images:
            raise InputError(no_dicom or f"{self.data_root}: holds no image")
        if not files.pairs and segmentations is None:
            raise InputError(_explain_none(files, self.masks))
        files = keep_first(files, self.limit)
        with reporter.progress("reading masks", len(files.pairs), "masks") as advance:
            catalogue, found = load_masks(
                files, dicom, self.rules, roots=(self.data_root, self.masks), out=self.out, patients=patients,
                max_pixels=MAX_PIXELS, rescale=self.rescale, on_mask=lambda: advance(1),
            )  # fmt: skip
        if segmentations is not None:
            found = _join(found, load_segments(replace(catalogue, others=segmentations), MAX_PIXELS))
        return catalogue, found

    def _read_dicom(self, reporter: Reporter) -> tuple[Catalogue | None, str]:
        """Read the DICOM of the images; where there is none, return why."""
        if self.data_root.is_file():
            return None, ""
        try:
            return self.load_catalogue(self.data_root, reporter), ""
        except InputError as error:
            return None, str(error)

    def _find_segmentations(self, dicom: Catalogue | None, reporter: Reporter) -> pl.DataFrame | None:
        """Return the DICOM Segmentations among the masks, and reports on them; None where there are none."""
        if dicom is None or not self.masks.is_dir():
            return None
        below = str(self.masks.absolute())
        others = dicom.others.filter(pl.col(PATH).str.starts_with(below))
        if others.is_empty():
            others = self.load_catalogue(self.masks, reporter, cache_name=_MASK_CATALOGUE, needs_ct=False).others
        has_masks = replace(dicom, others=others).count_modalities()[SEGMENTATION] > 0
        return others if has_masks else None


def _explain_none(files: MaskFiles, masks: Path) -> str:
    """Return why no mask has an image."""
    if files.rejected:
        return f"{masks}: none of {len(files.rejected)} masks has an image; first: {files.rejected[0].reason}"
    if files.anatomy:
        return (
            f"{masks}: its {len(files.anatomy)} masks have names of lungs and other anatomy, first {files.anatomy[0]}; "
            "--labels or --pairs takes them all the same"
        )
    return (
        f"{masks}: holds no mask (.nii.gz, .nrrd, .mha, .mhd or DICOM SEG); where masks lie among the images, their "
        "names tell them apart (ct.nii.gz or case_0000.nii.gz beside case_mask.nii.gz), or --pairs does"
    )


def _join(one: Annotations, other: Annotations) -> Annotations:
    """Return the annotations of two sources of outlines as one."""
    counts = one.counts + other.counts
    return replace(
        one,
        outlines=[*one.outlines, *other.outlines],
        rejected=[*one.rejected, *other.rejected],
        counts=Counter({name: counts[name] for name in {**one.counts, **other.counts}}),
        remarks=[*one.remarks, *other.remarks],
        absent=one.absent + other.absent,
        unusable=one.unusable + other.unusable,
    )


@dataclass(frozen=True, kw_only=True)
class StructureSetRequest(PrepareRequest):
    """RT Structure Sets beside their CT.

    Attributes:
        data_root: Folder of all these files, at any depth.
        roi: Regular expression of the names of ROIs that are nodules, in any case.
    """

    data_root: Path
    roi: str = NODULE_ROIS

    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Read the headers, then the structure sets among the files."""
        pattern = compile_roi_pattern(self.roi)
        catalogue = self.load_catalogue(self.data_root, reporter)
        files = catalogue.count_modalities()[STRUCTURE_SET]
        with reporter.progress("reading structure sets", files, "files") as advance:
            return catalogue, load_structure_sets(catalogue, pattern, MAX_PIXELS, lambda: advance(1))
