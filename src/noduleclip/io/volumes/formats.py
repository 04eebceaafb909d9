"""The formats of volumes by the endings of their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError
from noduleclip.io.volumes.metaimage import read_meta_header
from noduleclip.io.volumes.nifti import read_nifti_header
from noduleclip.io.volumes.nrrd import read_nrrd_header
from noduleclip.io.volumes.volume import Rescale, Volume, orient
from noduleclip.io.volumes.voxel_data import FileVolume

_READERS: Final[dict[str, Callable[[Path, int], FileVolume]]] = {
    **dict.fromkeys((".nii.gz", ".nii"), lambda path, _: read_nifti_header(path)),
    **dict.fromkeys((".nrrd", ".nhdr"), lambda path, _: read_nrrd_header(path)),
    **dict.fromkeys((".mhd", ".mha"), read_meta_header),
}
VOLUME_SUFFIXES: Final = tuple(_READERS)
"""Endings of files that `open_volume` reads, in lower case."""


def open_volume(path: Path, max_pixels: int = MAX_PIXELS, rescale: Rescale | None = None) -> Volume:
    """Read the header of a volume.

    Args:
        path: A file whose name ends in one of `VOLUME_SUFFIXES`.
        max_pixels: Largest slice, in pixels.
        rescale: Slope and intercept that make HU of its values; None = they are HU.

    Raises:
        InputError: The file cannot be read, or is no volume of CT values or of a mask.
        UsageError: The library that reads the format is missing.
    """
    suffix = _find_suffix(path.name)
    if not suffix:
        raise InputError(f"{path}: no volume; known endings are {', '.join(VOLUME_SUFFIXES)}")
    return orient(_READERS[suffix](path, max_pixels), max_pixels, rescale)


def strip_volume_suffix(name: str) -> str:
    """Return the name of a file without the ending of a volume; unchanged where it has none."""
    suffix = _find_suffix(name)
    return name[: len(name) - len(suffix)] if suffix else name


def _find_suffix(name: str) -> str:
    return next((suffix for suffix in VOLUME_SUFFIXES if name.casefold().endswith(suffix)), "")
