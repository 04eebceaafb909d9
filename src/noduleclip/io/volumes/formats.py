"""The formats of volumes by the endings of their files."""

from pathlib import Path
from typing import Final

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError
from noduleclip.io.volumes.metaimage import read_meta_header
from noduleclip.io.volumes.volume import Volume, orient

VOLUME_SUFFIXES: Final = (".mhd", ".mha")
"""Endings of files that `open_volume` reads, in lower case."""


def open_volume(path: Path, max_pixels: int = MAX_PIXELS) -> Volume:
    """Read the header of a volume.

    Args:
        path: A file whose name ends in one of `VOLUME_SUFFIXES`.
        max_pixels: Largest slice, in pixels.

    Raises:
        InputError: The file cannot be read, or is no volume of CT values or of a mask.
    """
    name = path.name.casefold()
    if name.endswith((".mhd", ".mha")):
        return orient(read_meta_header(path, max_pixels), max_pixels)
    raise InputError(f"{path}: no volume; known endings are {', '.join(VOLUME_SUFFIXES)}")


def strip_volume_suffix(name: str) -> str:
    """Return the name of a file without the ending of a volume; unchanged where it has none."""
    suffix = next((suffix for suffix in VOLUME_SUFFIXES if name.casefold().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix else name
