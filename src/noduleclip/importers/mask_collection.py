"""Masks of a folder as outlines on the slices of their images, in DICOM or in volumes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, SliceError
from noduleclip.importers.annotations import Annotations, Outline, RejectedAnnotation, count_on_images
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.mask_files import MaskFiles
from noduleclip.importers.mask_pairs import Pair
from noduleclip.importers.mask_segments import ImageSlices, read_mask
from noduleclip.importers.mask_voxels import FEW_VOXELS, MaskInstances, MaskRules
from noduleclip.importers.roi_rows import make_rows
from noduleclip.importers.segment_annotations import outline_segment
from noduleclip.importers.series_slices import SeriesSlices
from noduleclip.importers.slice_columns import make_planes
from noduleclip.importers.volume_catalogue import join_catalogues, list_volume_slices, write_needed
from noduleclip.importers.volume_patients import VolumePatients, remark_unknown
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.volume import Rescale, Volume

EMPTY_MASKS = "empty masks"


@dataclass
class _Reads:
    """What the masks of a folder hold, so far."""

    outlines: list[Outline] = field(default_factory=list)
    rejected: list[RejectedAnnotation] = field(default_factory=list)
    empty: list[RejectedAnnotation] = field(default_factory=list)
    anatomy: list[str] = field(default_factory=list)
    few: int = 0
    left_out: int = 0

    def add_counts(self, found: MaskInstances, path: Path) -> None:
        """Add what a mask has beside its nodules."""
        self.few += found.few
        self.left_out += found.left_out
        self.anatomy += [f"{name!r} in {path}" for name in found.anatomy]
        self.rejected += [RejectedAnnotation(path, RejectCode.NO_DIAMETER, reason) for reason in found.wide]
        if not found.nodules and not found.wide and not found.left_out:
            self.empty.append(RejectedAnnotation(path, RejectCode.EMPTY_MASK, f"{path}: has no voxel of a nodule"))


def open_images(
    files: MaskFiles, max_pixels: int, rescale: Rescale | None
) -> tuple[dict[str, Volume], list[RejectedAnnotation]]:
    """Open the volumes that masks are of, by series, and list those that cannot be read."""
    opened: dict[str, Volume] = {}
    rejected: list[RejectedAnnotation] = []
    for series_uid in sorted({pair.series_uid for pair in files.pairs} & set(files.volumes)):
        path = files.volumes[series_uid]
        try:
            opened[series_uid] = open_volume(path, max_pixels, rescale)
        except InputError as error:
            rejected.append(RejectedAnnotation(path, RejectCode.BAD_HEADER, str(error)))
    return opened, rejected


def load_masks(
    files: MaskFiles,
    dicom: Catalogue | None,
    rules: MaskRules,
    *,
    roots: tuple[Path, Path],
    out: Path,
    patients: VolumePatients,
    max_pixels: int,
    rescale: Rescale | None = None,
    on_mask: Callable[[], None] = lambda: None,
) -> tuple[Catalogue, Annotations]:
    """Load the outlines of masks.

    Of images that are volumes, the slices with outlines are written to `out` as derived DICOM.

    Args:
        files: Masks with their images.
        dicom: The DICOM of the images; None where there is none.
        rules: Which voxels of a mask are nodules.
        roots: Folders of images and of masks.
        out: Folder of results.
        patients: Finds the patients of volumes.
        max_pixels: Largest slice, in pixels.
        rescale: Slope and intercept that make HU of the values of volumes; None = they are HU.
        on_mask: Called after each mask.

    Raises:
        OutputError: A slice cannot be written.
    """
    volumes, rejected = open_images(files, max_pixels, rescale)
    catalogue = join_catalogues(dicom, list_volume_slices(volumes, out), roots[0], out)
    reads = _Reads(rejected=[*files.rejected, *rejected])
    for pair in files.pairs:
        series = catalogue.find_series(pair.series_uid)
        if series is not None:  # else its image is rejected
            _read_pair(pair, series, files.volumes.get(pair.series_uid), rules, patients, max_pixels, reads)
        on_mask()
    outlines, broken, doubts = _write_slices(reads.outlines, volumes, catalogue, roots[1])
    counts = Counter(
        {
            "masks": len(files.pairs),
            EMPTY_MASKS: len(reads.empty),
            "images": files.images,
            "images without a mask": files.unmasked,
        }
    )
    return catalogue, Annotations(
        source=roots[1],
        outlines=outlines,
        rejected=[*reads.rejected, *broken],
        counts=counts,
        remarks=[*_remark(files, reads, volumes), *doubts],
        reported=[*reads.empty, *files.closed],
        unusable=Counter({EMPTY_MASKS: len(reads.empty)}),
    )


def _read_pair(
    pair: Pair,
    series: SeriesSlices,
    image: Path | None,
    rules: MaskRules,
    patients: VolumePatients,
    max_pixels: int,
    reads: _Reads,
) -> None:
    """Read a mask, and add its outlines, or why it has none."""
    name = f"series {pair.series_uid}" if image is None else str(image)
    patient_id = pair.patient_id
    if not patient_id and image is not None:
        patient_id = patients.find(pair.series_uid, image) or pair.series_uid
    try:
        mine = series.of_patient(pair.patient_id)
        if mine is None:
            fact = f"{name} has slices of {len(series.patients)} patients; name the one that is meant with --pairs"
            raise SliceError(RejectCode.NO_SLICE, f"{pair.mask}: {fact} (patient_id)")
        frames = [pl.concat([part.frame for part in parts]) for parts in mine.reconstructions]
        slices = [ImageSlices(name, make_planes(frame), frame[schema.SOP_UID].to_list()) for frame in frames]
        volume = open_volume(pair.mask, max_pixels)
        segments, found = read_mask(volume, rules, slices, is_one=bool(pair.nodule_id))
    except InputError as error:
        code = error.code if isinstance(error, SliceError) else RejectCode.BAD_MASK
        reads.rejected.append(RejectedAnnotation(pair.mask, code, str(error)))
        return
    reads.add_counts(found, pair.mask)
    gap_mm = volume.voxel_mm3 / (volume.spacing_xyz_mm[0] * volume.spacing_xyz_mm[1])
    planes = [plane for one in slices for plane in one.planes]
    sop_uids = [sop_uid for one in slices for sop_uid in one.sop_uids]
    for segment in segments:
        made = outline_segment(segment, planes, sop_uids, (pair.nodule_id, pair.reader), gap_mm=gap_mm)
        if isinstance(made, Outline):
            reads.outlines.append(replace(made, series_uid=pair.series_uid, patient_id=patient_id))
        else:
            reads.rejected.append(made)


def _write_slices(
    outlines: Sequence[Outline], volumes: Mapping[str, Volume], catalogue: Catalogue, source: Path
) -> tuple[list[Outline], list[RejectedAnnotation], list[str]]:
    """Write the slices of volumes that outlines lie on.

    Returns:
        The outlines that have slices, the images that cannot be used, and doubts about others.
    """
    of_volumes = [outline for outline in outlines if outline.series_uid in volumes]
    rows = make_rows(of_volumes, catalogue, DiameterKind.IN_SLICE, source=source)
    written = write_needed(volumes, rows.frame)
    paths = {one.path for one in written.rejected}
    lost = {uid for uid, volume in volumes.items() if volume.path in paths}
    curves: Counter[Path] = Counter()
    for outline in of_volumes:
        curves[volumes[outline.series_uid].path] += outline.count_curves()
    rejected = count_on_images(written.rejected, curves)
    return [outline for outline in outlines if outline.series_uid not in lost], rejected, written.remarks


def _remark(files: MaskFiles, reads: _Reads, volumes: Mapping[str, Volume]) -> list[str]:
    remarks = []
    anatomy = [*(str(path) for path in files.anatomy), *reads.anatomy]
    if anatomy:
        remarks.append(
            f"{len(anatomy)} masks or labels have the names of lungs and other anatomy: left out, first: {anatomy[0]}"
        )
    if reads.few:
        remarks.append(
            f"{reads.few} nodules have fewer than {FEW_VOXELS} voxels, as specks of a network's output have; "
            f"--min-voxels {FEW_VOXELS} leaves them out"
        )
    if reads.left_out:
        remarks.append(f"{reads.left_out} parts, or groups of parts, smaller than --min-voxels are left out")
    remarks += [remark for volume in volumes.values() for remark in volume.stored.remarks]
    nameless = {
        one.series_uid for one in reads.outlines if one.series_uid in volumes and one.patient_id == one.series_uid
    }
    return [*remarks, *remark_unknown(nameless)]
