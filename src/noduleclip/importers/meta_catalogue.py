"""Folders of MetaImages, such as LUNA16's subsets, as tables of slices like those of DICOM.

The pipeline reads DICOM, so derived DICOM is written for the slices that a table needs.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, SliceError
from noduleclip.importers.annotations import RejectedAnnotation
from noduleclip.importers.catalogue import (
    COLUMNS,
    MODALITY,
    ORIENTATION,
    PATH,
    POSITION,
    ROWS,
    SLICE_COLUMNS,
    Catalogue,
)
from noduleclip.importers.files import Walk, find_files
from noduleclip.importers.hu_range import check_hu
from noduleclip.importers.metaimage import MetaImage, NotCtError, read_meta_header, read_meta_slices
from noduleclip.io.dicom.derived_ct import keep_file, make_derived_slice, make_derived_uid
from noduleclip.io.disk import require_space, round_to_blocks
from noduleclip.io.slice_plane import SlicePlane

DICOM_FOLDER: Final = "dicom"
_SUFFIXES: Final = (".mhd", ".mha")
_DIGITS: Final = 16
_HEADER_BYTES: Final = 1024  # of a derived slice, about


@dataclass(frozen=True)
class MetaSeries:
    """The CT of some series as MetaImages.

    Attributes:
        images: By the name of the series, which is the file's without its ending.
        rejected: Files that are no usable CT.
        masks: Number of files that are masks.
        closed: Parts of the folder that cannot be opened.
    """

    images: Mapping[str, MetaImage]
    rejected: list[RejectedAnnotation]
    masks: int
    closed: Sequence[RejectedAnnotation] = ()


def find_meta_series(root: Path, wanted: Collection[str], max_pixels: int) -> MetaSeries:
    """Read the headers of the MetaImages below a folder that are of some series; hidden files are left out."""
    images: dict[str, MetaImage] = {}
    rejected: list[RejectedAnnotation] = []
    masks, walk = 0, Walk()
    for path in find_files(root, *_SUFFIXES, walk=walk):
        name = path.name[: -len(_SUFFIXES[0])]
        if name not in wanted:
            continue
        try:
            image = read_meta_header(path, max_pixels)
        except NotCtError:
            masks += 1
        except InputError as error:
            rejected.append(RejectedAnnotation(path, RejectCode.BAD_HEADER, str(error)))
        else:
            if name in images:
                reason = f"{path}: {images[name].path} is of the same name; leave one of them out"
                rejected.append(RejectedAnnotation(path, RejectCode.BAD_HEADER, reason))
            images.setdefault(name, image)
    return MetaSeries(images, rejected, masks, walk.rejected)


def list_meta_slices(images: Mapping[str, MetaImage], out: Path) -> pl.DataFrame:
    """Return the slices of MetaImages as rows of a catalogue, with the paths that their DICOM will have.

    No path is built from the name of a series: its folder is named by its hash.
    """
    rows: list[dict[str, Any]] = []
    for series_uid in sorted(images):
        folder = out.absolute() / DICOM_FOLDER / hashlib.sha256(series_uid.encode()).hexdigest()[:_DIGITS]
        for index, plane in enumerate(list_planes(images[series_uid])):
            rows.append(
                {
                    PATH: str(folder / f"{index:05d}.dcm"),
                    MODALITY: "CT",
                    schema.SOP_UID: make_derived_uid(series_uid, index),
                    schema.SERIES_UID: series_uid,
                    schema.PATIENT_ID: "",
                    schema.SPACING_ROW: plane.spacing_yx_mm[0],
                    schema.SPACING_COL: plane.spacing_yx_mm[1],
                    **dict(zip((*POSITION, *ORIENTATION), (*plane.position_mm, *plane.orientation), strict=True)),
                    ROWS: plane.shape_yx[0],
                    COLUMNS: plane.shape_yx[1],
                }
            )
    return pl.DataFrame(rows, schema=SLICE_COLUMNS, orient="row")


def recognise_derived(out: Path) -> Callable[[str], bool]:
    """Return a function that recognises folders of slices that `list_meta_slices` named for `out`."""
    parent, name = (out / DICOM_FOLDER).resolve(), re.compile(rf"[0-9a-f]{{{_DIGITS}}}")

    def is_derived(folder: str) -> bool:
        path = Path(folder)
        return bool(name.fullmatch(path.name)) and path.parent.resolve() == parent

    return is_derived


def join_catalogues(dicom: Catalogue | None, slices: pl.DataFrame, root: Path, out: Path) -> Catalogue:
    """Return a catalogue of a folder's DICOM, if it has any, and of slices from `list_meta_slices` for `out`.

    A series that is there as DICOM, too, is taken from it. Relative paths start from a folder that contains all slices.
    """
    if dicom is None:
        nothing = pl.DataFrame(schema=SLICE_COLUMNS)
        return Catalogue(root, slices, nothing, nothing, 0, 0, paths_from=out)
    others = slices.join(dicom.slices, on=schema.SERIES_UID, how="anti", maintain_order="left")
    if others.is_empty():
        return dicom
    both = pl.concat([dicom.slices, others]).sort(schema.SERIES_UID, PATH)
    above = Path(os.path.commonpath([os.path.normpath(folder.absolute()) for folder in (root, out)]))
    return Catalogue(root, both, dicom.others, dicom.rejects, dicom.copies, dicom.not_dicom, paths_from=above)


def list_planes(image: MetaImage) -> list[SlicePlane]:
    """Return the geometry of the slices of a MetaImage."""
    columns, rows, slices = image.size_xyz
    column_mm, row_mm, _ = image.spacing_xyz_mm
    orientation = tuple(float(part) for part in image.axes[:2].ravel())
    return [SlicePlane(image.position_mm(k), orientation, (row_mm, column_mm), (rows, columns)) for k in range(slices)]


def write_needed(images: Mapping[str, MetaImage], rois: pl.DataFrame) -> tuple[int, list[RejectedAnnotation]]:
    """Write the slices that rows of a table name as derived DICOM, each whole or not at all.

    A file that is there as it would be written is left alone, so that a killed run goes on.

    Args:
        images: The MetaImages.
        rois: Rows on slices of `list_meta_slices`.

    Returns:
        The number of files written, and the images that cannot be read, whose rows have no slice.

    Raises:
        OutputError: A file cannot be written.
    """
    needed: dict[str, dict[int, tuple[Path, str]]] = defaultdict(dict)
    columns = (schema.SERIES_UID, schema.DICOM_PATH, schema.PATIENT_ID)
    for series_uid, name, patient_id in rois.select(columns).unique().sort(columns).iter_rows():
        if series_uid in images:
            needed[series_uid][int(Path(name).stem)] = (Path(name), patient_id)
    # They are written one by one, and those that are there are left alone.
    missing = [(images[uid], path) for uid, some in needed.items() for path, _ in some.values() if not path.exists()]
    if missing:
        sizes = [2 * image.size_xyz[0] * image.size_xyz[1] + _HEADER_BYTES for image, _ in missing]
        require_space(missing[0][1], sum(map(round_to_blocks, sizes)))
    written, rejected = 0, []
    for series_uid, slices in needed.items():
        image = images[series_uid]
        planes = list_planes(image)
        try:
            for index, hu in read_meta_slices(image, slices):
                check_hu(hu, index, image.path)
                path, patient_id = slices[index]
                content = make_derived_slice(
                    hu,
                    key=series_uid,
                    index=index,
                    patient_id=patient_id,
                    position_mm=planes[index].position_mm,
                    orientation=planes[index].orientation,
                    spacing_yx_mm=planes[index].spacing_yx_mm,
                    spacing_z_mm=image.spacing_xyz_mm[2],
                )
                written += keep_file(path, content)
        except InputError as error:
            code = error.code if isinstance(error, SliceError) else RejectCode.TRUNCATED_PIXELS
            rejected.append(RejectedAnnotation(image.path, code, str(error)))
    return written, rejected
