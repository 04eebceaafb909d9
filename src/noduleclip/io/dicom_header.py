"""One DICOM file to header values, or one reason why not.

Opens a file without letting it allocate more than a slice could need, and reads values that may be broken; knows
nothing of what the values mean.
"""

import io
import math
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import DeflatedExplicitVRLittleEndian

from noduleclip.errors import RejectCode, SliceError

COPY_AGAIN: Final = "copy or download it again"
LEAVE_OUT: Final = "leave the file out"
_LARGEST_HEADER_BYTES: Final = 16 * 2**20


@dataclass(frozen=True)
class Header:
    """Header values by keyword; a conversion that fails is a rejection.

    Attributes:
        path: The file, for messages.
        dataset: What was read of it.
    """

    path: Path
    dataset: pydicom.FileDataset

    def reject(self, code: RejectCode, fact: str, remedy: str) -> SliceError:
        """Make, not raise, the error that names the file, what was found and what to do."""
        return _rejection(self.path, code, fact, remedy)

    def value(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> object:
        """Give the value as pydicom converts it, None where the element is absent; raises `code` if malformed."""
        try:
            return self.dataset.get(keyword)
        except Exception as error:  # pydicom converts on access, and each type fails in its own way
            raise self.reject(code, f"the value of {keyword} is malformed", COPY_AGAIN) from error

    def text(self, keyword: str) -> str:
        """Give the value without blanks around it, empty where the element is absent."""
        value = self.value(keyword)
        return "" if value is None else str(value).strip()

    def numbers(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> list[float] | None:
        """Give all values, finite; an empty list where the element is empty, None where it is absent."""
        if keyword not in self.dataset:
            return None
        value = self.value(keyword, code)
        items = list(value) if isinstance(value, MultiValue) else [value]
        try:
            numbers = [float(str(item)) for item in items if item not in (None, "")]
        except ValueError as error:
            raise self.reject(code, f"{keyword} is no number", COPY_AGAIN) from error
        if not all(map(math.isfinite, numbers)):
            raise self.reject(code, f"{keyword} is not finite", LEAVE_OUT)
        return numbers

    def count(self, keyword: str, absent: int | None = None) -> int:
        """Give the first value as a whole number, `absent` in place of one that is missing or empty."""
        numbers = self.numbers(keyword) or ([] if absent is None else [absent])
        if not numbers:
            raise self.reject(RejectCode.TRUNCATED_HEADER, f"the header has no {keyword}", COPY_AGAIN)
        return int(numbers[0])


def read_header(path: Path, max_pixels: int, tags: Sequence[str], *, stop_before_pixels: bool = True) -> Header:
    """Read some elements of a DICOM file.

    Args:
        path: The file.
        max_pixels: Largest Rows x Columns that is wanted; it bounds the memory that a broken file can take.
        tags: Keywords of the elements.
        stop_before_pixels: Leave the pixel data unread.

    Returns:
        Those of the elements that the file has, not yet converted, and its file meta information.

    Raises:
        SliceError: The file cannot be read, is not DICOM, or ends too early.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _rejection(path, RejectCode.UNREADABLE_FILE, "not a regular file", "name a DICOM file")
        if status.st_size == 0:
            raise _rejection(path, RejectCode.EMPTY_FILE, "the file is empty", COPY_AGAIN)
        limit_bytes = 4 * max_pixels + _LARGEST_HEADER_BYTES
        with _open_bounded(path, status.st_size, limit_bytes, in_memory=not stop_before_pixels) as file:
            # What is larger than a slice stays in the file, such as the pixels of a volume in many frames.
            dataset = pydicom.dcmread(file, limit_bytes, stop_before_pixels, specific_tags=list(tags))
        # Where the file ends in an element without a length, pydicom drops all that it read before.
        if not stop_before_pixels and not len(dataset) and len(read_header(path, max_pixels, tags).dataset):
            raise _rejection(path, RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short", COPY_AGAIN)
        return Header(path, dataset)
    except SliceError:
        raise
    except Exception as error:  # a parser on broken bytes raises whatever it runs into
        code, fact, remedy = _explain_unread(error, max_pixels)
        if code is RejectCode.TRUNCATED_HEADER and not stop_before_pixels:
            read_header(path, max_pixels, tags)  # raises where the header itself is broken
            code, fact = RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short"
        raise _rejection(path, code, fact, remedy) from error


def _explain_unread(error: Exception, max_pixels: int) -> tuple[RejectCode, str, str]:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return RejectCode.MISSING_FILE, "no such file", "check the path and the DICOM root"
        case OSError() if error.errno is not None:  # pydicom raises some of its own, without a number
            return RejectCode.UNREADABLE_FILE, f"cannot be read ({error.strerror})", "check its permissions"
        case InvalidDicomError():
            return RejectCode.NOT_DICOM, "not DICOM: it has no DICM prefix", LEAVE_OUT
        case _InflatesTooFar():
            fact = f"deflated, it inflates beyond any slice of {max_pixels} pixels"
            return RejectCode.TOO_LARGE, fact, LEAVE_OUT
        case _:
            fact = f"the header cannot be parsed ({type(error).__name__})"
            return RejectCode.TRUNCATED_HEADER, fact, COPY_AGAIN


def _rejection(path: Path, code: RejectCode, fact: str, remedy: str) -> SliceError:
    return SliceError(code, f"{path}: {fact}; {remedy}")


def _open_bounded(path: Path, size_bytes: int, limit_bytes: int, *, in_memory: bool) -> BinaryIO:
    """Open a file that cannot make pydicom allocate more than it should.

    One that is read whole anyway is read at once: pydicom makes a hundred small reads of a slice.
    """
    if in_memory and size_bytes <= limit_bytes:
        content = path.read_bytes()
        if str(DeflatedExplicitVRLittleEndian).encode() not in content:
            return io.BytesIO(content)
    return _BoundedFile(path, size_bytes, limit_bytes)


class _InflatesTooFar(Exception):  # noqa: N818 - never leaves this module
    """A deflated file is larger than any slice."""


class _BoundedFile(io.BufferedReader):
    """A file that cannot make pydicom allocate more than it should.

    pydicom reads "all the rest" for one purpose only, to inflate it at once; it does so even for a header.
    """

    def __init__(self, path: Path, size_bytes: int, largest_inflated_bytes: int) -> None:
        super().__init__(io.FileIO(str(path)))
        self._size_bytes = size_bytes
        self._largest_inflated_bytes = largest_inflated_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            return super().read(min(size, self._size_bytes))
        rest = super().read()
        limit = self._largest_inflated_bytes
        if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(rest, limit + 1)) > limit:
            raise _InflatesTooFar
        return rest
