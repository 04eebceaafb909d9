"""The MetaImages of a folder, such as LUNA16's subsets, and the slices of them that are written as DICOM."""

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip.errors import InputError
from noduleclip.io.derived_ct import keep_file, make_derived_slice
from noduleclip.sources.metaimage import MetaImage, NotCtError, read_meta_header, read_meta_slices
from noduleclip.sources.planes import Plane

DICOM_FOLDER: Final = "dicom"
_SUFFIXES: Final = (".mhd", ".mha")


@dataclass(frozen=True)
class DerivedSlice:
    """A slice that was written.

    Attributes:
        path: The file, relative to the folder of results.
        sop_uid: Its SOP Instance UID.
    """

    path: str
    sop_uid: str


def find_meta_images(root: Path) -> dict[str, list[Path]]:
    """Find the MetaImages below a folder, by the name without its ending: LUNA16 names them by series."""
    found: dict[str, list[Path]] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if name.casefold().endswith(_SUFFIXES) and not name.startswith("."):
                found.setdefault(name[: -len(_SUFFIXES[0])], []).append(Path(folder, name))
    return found


def open_meta_image(paths: Collection[Path], max_pixels: int) -> MetaImage:
    """Read the header of a series' CT, among files of its name of which others may be masks.

    Raises:
        InputError: None of them is a CT, or more than one.
    """
    images, masks = [], []
    for path in paths:
        try:
            images.append(read_meta_header(path, max_pixels))
        except NotCtError as error:
            masks.append(error)
    if not images:
        raise masks[0]
    if len(images) > 1:
        raise InputError(f"{images[0].path}: {images[1].path} is of the same name; leave one of them out")
    return images[0]


def list_planes(image: MetaImage) -> list[Plane]:
    """Give where the slices of a MetaImage lie."""
    columns, rows, slices = image.size_xyz
    column_mm, row_mm, _ = image.spacing_xyz_mm
    orientation = tuple(float(part) for part in image.axes[:2].ravel())
    return [Plane(image.position_mm(k), orientation, (row_mm, column_mm), (rows, columns)) for k in range(slices)]


def write_slices(
    image: MetaImage, wanted: Collection[int], series_uid: str, patient_id: str, out: Path
) -> Mapping[int, DerivedSlice]:
    """Write some slices of a MetaImage as derived DICOM, each whole or not at all; the same ones give the same bytes.

    Args:
        image: The image.
        wanted: Which slices, 0-based.
        series_uid: What the series is called. It names no file: folders are named by its hash.
        patient_id: Patient.
        out: Folder of results.

    Raises:
        InputError: The image cannot be read.
        OutputError: A file cannot be written.
    """
    folder = f"{DICOM_FOLDER}/{hashlib.sha256(series_uid.encode()).hexdigest()[:16]}"
    planes = list_planes(image)
    written: dict[int, DerivedSlice] = {}
    for index, hu in read_meta_slices(image, wanted):
        plane = planes[index]
        sop_uid, content = make_derived_slice(
            hu,
            key=series_uid,
            index=index,
            patient_id=patient_id,
            position_mm=plane.position_mm,
            orientation=plane.orientation,
            spacing_yx_mm=plane.spacing_yx_mm,
            spacing_z_mm=image.spacing_xyz_mm[2],
        )
        name = f"{folder}/{index:05d}.dcm"
        keep_file(out / name, content)
        written[index] = DerivedSlice(name, sop_uid)
    return written
