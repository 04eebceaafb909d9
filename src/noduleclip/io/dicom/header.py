"""Header values of a DICOM file, within the limits of untrusted files; what cannot be read is a rejection."""

import contextlib
import functools
import math
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from noduleclip.errors import RejectCode, SliceError, shows_incompatibility
from noduleclip.io.dicom.bounded_file import (
    LARGEST_HEADER_BYTES,
    PIXEL_TAGS,
    InflatesTooFar,
    ReadsTooFar,
    TooManyParts,
    open_bounded,
)
from noduleclip.io.dicom.value_limits import check_item_count, check_value_lengths, find_long_values

COPY_AGAIN: Final = "copy or download it again"
LEAVE_OUT: Final = "leave the file out"
EXPORT_AGAIN: Final = "export it again as Explicit VR Little Endian"
_STRUCTURES_GROUP: Final = 0x3006
_CONTOURS: Final = "ROIContourSequence"
_GROUPS_AT_THE_START: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


@dataclass(frozen=True)
class Header:
    """Header values by keyword; a conversion that fails is a rejection.

    Attributes:
        path: The file, for messages.
        dataset: The elements that were read.
        pixels_at: Offset in the file at which reading stopped before the pixel data; 0 where they were read, too.
        pixel_tag: Tag of the pixel data, which are integers or floating-point numbers; 0 where the file has none, or
            ends before them.
        frame: Index of the frame that it is the header of, from 0.
        groups: The functional groups that have values of this frame, by keyword of the value.
    """

    path: Path
    dataset: pydicom.Dataset
    pixels_at: int = 0
    pixel_tag: int = 0
    frame: int = 0
    groups: Mapping[str, pydicom.Dataset] = field(default_factory=dict)

    def reject(self, code: RejectCode, fact: str, remedy: str) -> SliceError:
        """Return the error, which names the file, the finding and the remedy."""
        return _rejection(self.path, code, fact, remedy)

    def reject_missing(self, name: str) -> SliceError:
        """Return the error of an element that is missing: in a file cut short, or one that was written without it."""
        if self.pixel_tag:
            return self.reject(RejectCode.BAD_HEADER, f"the header has no {name}", LEAVE_OUT)
        return self.reject(RejectCode.TRUNCATED_HEADER, f"the header has no {name}", COPY_AGAIN)

    def value(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> object:
        """Return the value as pydicom converts it, None where the element is absent; raises `code` if malformed."""
        try:
            return self._find(keyword).get(keyword)
        except Exception as error:  # pydicom converts on access, and each type fails in its own way
            if shows_incompatibility(error):
                raise
            raise self.reject(code, f"the value of {keyword} is malformed", COPY_AGAIN) from error

    def text(self, keyword: str) -> str:
        """Return the value without blanks around it as one text, empty where the element is absent."""
        value = self.value(keyword)
        if isinstance(value, MultiValue):  # pydicom splits at each backslash
            value = "\\".join(map(str, value))
        return "" if value is None else str(value).strip()

    def numbers(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> list[float] | None:
        """Return all values, finite; an empty list where the element is empty, None where it is absent."""
        if keyword not in self._find(keyword):
            return None
        value = self.value(keyword, code)
        if isinstance(value, bytes | pydicom.Sequence):
            vr = self._find(keyword)[keyword].VR
            raise self.reject(code, f"{keyword} is stored as {vr}, not as a number or text", LEAVE_OUT)
        if isinstance(value, str):  # of a VR that pydicom does not split
            value = value.split("\\")
        items = value if isinstance(value, MultiValue | list) else [value]  # a list where the VR is binary
        try:
            numbers = [float(str(item)) for item in items if item is not None and str(item).strip()]
        except ValueError as error:
            raise self.reject(code, f"{keyword} is no number", LEAVE_OUT) from error
        if not all(map(math.isfinite, numbers)):
            raise self.reject(code, f"{keyword} is not finite", LEAVE_OUT)
        return numbers

    def count(self, keyword: str, absent: int | None = None) -> int:
        """Return the first value as a whole number, `absent` in place of one that is missing or empty."""
        numbers = self.numbers(keyword) or ([] if absent is None else [absent])
        if not numbers:
            raise self.reject_missing(keyword)
        return int(numbers[0])

    @contextlib.contextmanager
    def rejecting_malformed(self, code: RejectCode, fact: str) -> Iterator[None]:
        """Reject the file where the block raises: pydicom converts on access, and raises many types.

        Args:
            code: Code of the rejection.
            fact: What is malformed.

        Raises:
            SliceError: The block raised.
        """
        try:
            yield
        except SliceError:
            raise
        except Exception as error:
            if shows_incompatibility(error):
                raise
            raise self.reject(code, f"{fact} ({type(error).__name__})", LEAVE_OUT) from error

    def refuse_long_values(self, *, deep: bool = True) -> None:
        """Refuse values that would take pydicom long to convert; `read_header` sees to those outside all sequences.

        Args:
            deep: At all depths, not only outside the sequences of this one.

        Raises:
            SliceError: There is one.
        """
        for fact in find_long_values(self.dataset, deep=deep):
            raise self.reject(RejectCode.TOO_LARGE, f"its header has {fact}", LEAVE_OUT)

    def _find(self, keyword: str) -> pydicom.Dataset:
        return self.groups.get(keyword, self.dataset)


def read_header(
    path: Path,
    max_pixels: int,
    tags: Sequence[str],
    *,
    stop_before_pixels: bool = True,
    largest_bytes: int | None = None,
) -> Header:
    """Read some elements of a DICOM file.

    Args:
        path: The file.
        max_pixels: Largest Rows x Columns that is wanted; bounds the memory that a broken file can take.
        tags: Keywords of the elements.
        stop_before_pixels: Leave the pixel data unread.
        largest_bytes: Longest header; its caller converts its values itself and checks how many they are. None: that of
            an image, whose values are checked here.

    Returns:
        Those of the elements that the file has, not yet converted, and its file meta information.

    Raises:
        SliceError: The file cannot be read, is not DICOM, or ends too early.
    """
    pixel_tag = 0
    wants_contours = _CONTOURS in tags
    header_bytes = LARGEST_HEADER_BYTES if largest_bytes is None else largest_bytes

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal pixel_tag
        if tag not in PIXEL_TAGS:
            return tag.group == _STRUCTURES_GROUP and not wants_contours  # of structure sets, which have no pixels
        pixel_tag = pixel_tag or tag
        return stop_before_pixels

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _rejection(path, RejectCode.UNREADABLE_FILE, "not a regular file", "name a DICOM file")
        if status.st_size == 0:
            raise _rejection(path, RejectCode.EMPTY_FILE, "the file is empty", COPY_AGAIN)
        limit_bytes = header_bytes if stop_before_pixels else find_limit_bytes(max_pixels)
        in_memory = not stop_before_pixels and not is_large(path)
        with open_bounded(path, limit_bytes, find_limit_bytes(max_pixels), in_memory=in_memory) as file:
            dataset = read_partial(file, stop, limit_bytes, specific_tags=_find_tags(tuple(tags)))
            pixels_at = file.tell() if stop_before_pixels else 0
        check_item_count(dataset, header_bytes)
        if largest_bytes is None:
            check_value_lengths(dataset)
        # Where the file ends in an element without a length, pydicom drops all that it read before.
        if not stop_before_pixels and not len(dataset) and len(read_header(path, max_pixels, tags).dataset):
            raise _rejection(path, RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short", COPY_AGAIN)
        return Header(path, dataset, pixels_at, pixel_tag)
    except SliceError:
        raise
    except Exception as error:  # a parser on broken bytes raises whatever it runs into
        if shows_incompatibility(error):
            raise
        code, fact, remedy = _explain_unread(error, path, max_pixels, header_bytes)
        if code is RejectCode.TRUNCATED_HEADER and not stop_before_pixels:
            read_header(path, max_pixels, tags)  # raises where the header itself is broken
            code, fact = RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short"
        raise _rejection(path, code, fact, remedy) from error


@functools.lru_cache
def _find_tags(keywords: tuple[str, ...]) -> list[BaseTag | int]:
    """Look the keywords up once: for each file it takes a tenth of reading a slice."""
    return [Tag(keyword) for keyword in keywords]


def find_limit_bytes(max_pixels: int) -> int:
    """Return the largest slice of `max_pixels` pixels, header included."""
    return 4 * max_pixels + LARGEST_HEADER_BYTES


def is_large(path: Path) -> bool:
    """Return whether a file is too large to be read at once before its header is."""
    try:
        return path.stat().st_size > LARGEST_HEADER_BYTES
    except (OSError, ValueError):  # reading it gives the reason
        return False


def _explain_unread(error: Exception, path: Path, max_pixels: int, header_bytes: int) -> tuple[RejectCode, str, str]:
    match error:
        case _ if "\0" in str(path):
            return RejectCode.MISSING_FILE, "no file can have this path, it holds a NUL", "correct the path"
        case FileNotFoundError() | NotADirectoryError():
            return RejectCode.MISSING_FILE, "no such file", "check the path and the DICOM root"
        case OSError() if error.errno is not None:  # pydicom raises some of its own, without a number
            return RejectCode.UNREADABLE_FILE, f"cannot be read ({error.strerror})", "check its permissions"
        case InvalidDicomError() if _starts_with_an_element(path):
            fact = "not a DICOM file, but it looks like a data set without the 128 bytes and the DICM before it"
            return RejectCode.NOT_DICOM, fact, "repair it, for example with dcmconv IN OUT"
        case InvalidDicomError():
            return RejectCode.NOT_DICOM, "not DICOM: it has no DICM prefix", LEAVE_OUT
        case InflatesTooFar():
            fact = f"deflated, it inflates beyond any slice of {max_pixels} pixels"
            return RejectCode.TOO_LARGE, fact, LEAVE_OUT
        case _ if isinstance(error, ReadsTooFar) or isinstance(error.__context__, ReadsTooFar):
            fact = f"its header is longer than {header_bytes // 2**20} MB"
            return RejectCode.TOO_LARGE, fact, LEAVE_OUT
        case _ if parts := [one for one in (error, error.__context__) if isinstance(one, TooManyParts)]:
            return RejectCode.TOO_LARGE, f"its header has {parts[0]}", LEAVE_OUT
        case _ if any(isinstance(one, RecursionError) for one in _list_contexts(error)):
            return RejectCode.BAD_HEADER, "its header has sequences in sequences without end", LEAVE_OUT
        case _:
            fact = f"the header cannot be parsed ({type(error).__name__})"
            return RejectCode.TRUNCATED_HEADER, fact, COPY_AGAIN


def _list_contexts(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those in whose handling it was raised: pydicom makes an OSError of any error in an item."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__context__


def _starts_with_an_element(path: Path) -> bool:
    """Return whether a file starts as the file meta information or the data set of an image does."""
    with path.open("rb") as file:
        start = file.read(8)
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    short = len(start) == 8 and int.from_bytes(start[4:8], "little") <= 256
    return start[:2] in _GROUPS_AT_THE_START and (explicit or short)


def _rejection(path: Path, code: RejectCode, fact: str, remedy: str) -> SliceError:
    name = str(path).replace("\0", "\\0")
    return SliceError(code, f"{name}: {fact}; {remedy}")
