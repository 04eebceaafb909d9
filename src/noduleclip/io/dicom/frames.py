"""Frames of enhanced CT, and the header values of one frame from its functional groups."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pydicom

from noduleclip import schema
from noduleclip.errors import RejectCode
from noduleclip.io.dicom.header import COPY_AGAIN, LEAVE_OUT, Header, read_header

_PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
_SHARED: Final = "SharedFunctionalGroupsSequence"
MOST_FRAMES: Final = 4096
"""Most frames of a file whose places are read."""
GROUP_TAGS: Final = (_PER_FRAME, _SHARED, "ExtendedOffsetTable", "ExtendedOffsetTableLengths")
# The values that are used of each functional group, all of them from the same group.
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "CTImageFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "FrameContentSequence": ("FrameAcquisitionNumber",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope", "RescaleType"),
}


def read_volume_header(path: Path, max_pixels: int, tags: Sequence[str]) -> Header:
    """Read what `read_header` does and no pixels; the header of the last file is kept for its other frames.

    Raises:
        SliceError: As `read_header` does.
    """
    try:
        status = path.stat()
        version = (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # read_header gives the reason
        version = (-1, -1)
    return _read_version(path, version, max_pixels, tuple(tags))


@functools.lru_cache(maxsize=1)
def _read_version(path: Path, _version: tuple[int, int], max_pixels: int, tags: tuple[str, ...]) -> Header:
    return read_header(path, max_pixels, tags)


def pick_frame(header: Header, frame: float | None) -> Header:
    """Return the header of one frame: values of its functional groups take the place of those of the file.

    A group of the frame wins over one shared by all frames, and that over the top level, whose position is of no frame.

    Args:
        header: Header of the file.
        frame: Number of the frame, from 1; None for the only one.

    Raises:
        SliceError: The file has no such frame, or many and none is named.

    Source:
        DICOM PS3.3 C.7.6.16 (Multi-frame Functional Groups), C.7.6.6 (NumberOfFrames).
    """
    frames = header.count("NumberOfFrames", absent=1)
    index = _find_index(header, frame, frames)
    candidates = (_read_item(header, _PER_FRAME, index), _read_item(header, _SHARED, 0))
    own = [Header(header.path, group) for group in candidates if group is not None]
    found = {"ImagePositionPatient": pydicom.Dataset()} if frames > 1 else {}
    for name, keywords in _GROUPS.items():
        values = next((item for group in own if (item := _read_item(group, name, 0)) is not None), None)
        if values is not None:
            found |= dict.fromkeys(keywords, values)
    return replace(header, frame=index, groups=found)


def _find_index(header: Header, frame: float | None, frames: int) -> int:
    if frame is None:
        if frames > 1:
            fact = f"it holds {frames} frames, and the table does not say which"
            raise header.reject(RejectCode.MULTI_FRAME, fact, f"give its number, from 1, in a column {schema.FRAME}")
        return 0
    if not 1 <= frame <= max(frames, 1) or frame != int(frame):
        held = f"frames 1 to {frames}" if frames > 1 else "frame 1 alone"
        fact = f"frame {frame:g} is asked for, it has {held}"
        raise header.reject(RejectCode.BAD_FRAME, fact, "correct the number in the table")
    return int(frame) - 1


def _read_item(header: Header, keyword: str, index: int) -> pydicom.Dataset | None:
    """Return an item of a sequence, None where the sequence is absent or empty."""
    sequence = header.value(keyword)
    if sequence is None or sequence == "":
        return None
    if not isinstance(sequence, pydicom.Sequence):
        raise header.reject(RejectCode.BAD_HEADER, f"{keyword} is no sequence", COPY_AGAIN)
    if not sequence:
        return None
    if index >= len(sequence):
        fact = f"{keyword} has {len(sequence)} items, none for frame {index + 1}"
        raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
    item: pydicom.Dataset = sequence[index]
    Header(header.path, item).refuse_long_values(deep=False)
    return item
