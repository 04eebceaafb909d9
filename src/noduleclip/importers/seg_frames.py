"""Frames of a DICOM Segmentation: the packed bits of a binary one, the labels of a label map."""

from collections.abc import Callable, Collection, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from noduleclip.errors import RejectCode
from noduleclip.io.dicom.header import COPY_AGAIN, LEAVE_OUT, Header

_NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_MOST_LABELS: Final = 100  # of a frame, beside lungs and other anatomy


def check_syntax(header: Header) -> None:
    """Reject compressed masks and those of another byte order."""
    syntax = str(header.dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax in _NATIVE:
        return
    fact, remedy = "its masks are compressed", "decompress it"
    if not syntax:
        fact, remedy = "the header names no transfer syntax", COPY_AGAIN
    elif syntax == ExplicitVRBigEndian:
        fact, remedy = "it is in big-endian byte order", "convert it to little endian, for example with dcmconv +te"
    raise header.reject(RejectCode.BAD_SEGMENTATION, fact, remedy)


def split_labels(
    labels: NDArray[np.generic], wanted: Collection[int], frame: int, header: Header
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield number and mask of each segment in a frame of a label map, whose background is 0."""
    numbers = sorted((set(np.unique(labels).tolist()) & set(wanted)) - {0})
    if len(numbers) > _MOST_LABELS:
        fact = f"frame {frame + 1} has {len(numbers):,} segments, {_MOST_LABELS} at most are read"
        raise header.reject(RejectCode.TOO_LARGE, fact, LEAVE_OUT)
    for number in numbers:
        yield number, labels == number


def open_frames(header: Header, frames: int, rows: int, columns: int) -> Callable[[int], NDArray[np.generic]]:
    """Return a function that returns the (Y, X) values of a frame.

    Frames follow each other without a gap, bits least significant first. Some writers begin each frame of bits at a
    byte; the length tells.

    Raises:
        SliceError: The pixel data are shorter or longer than the frames.

    Source:
        DICOM PS3.5 8.1.1 and annex D; dcmqi issue 341 for frames that begin at a byte.
    """
    packed, bits = np.frombuffer(header.dataset.PixelData, np.uint8), header.count("BitsAllocated")
    frame_bits = rows * columns * bits
    stride_bits = frame_bits
    needed, padded = -(-frames * frame_bits // 8), frames * -(-frame_bits // 8)
    if len(packed) < needed:
        raise header.reject(RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short", COPY_AGAIN)
    if len(packed) > needed + needed % 2:
        if len(packed) not in (padded, padded + padded % 2):
            fact = f"its pixel data have {len(packed):,} bytes, where its {frames} frames take {needed:,}"
            raise header.reject(RejectCode.BAD_SEGMENTATION, fact, LEAVE_OUT)
        stride_bits = -(-frame_bits // 8) * 8

    def load(frame: int) -> NDArray[np.generic]:
        first = frame * stride_bits
        part = packed[first // 8 : -(-(first + frame_bits) // 8)]
        if bits > 1:
            return part.view(f"<u{bits // 8}").reshape(rows, columns)
        unpacked = np.unpackbits(part, bitorder="little")
        return unpacked[first % 8 : first % 8 + frame_bits].reshape(rows, columns)

    return load
