"""One DICOM file to header values, or one reason why not.

Opens a file without letting it allocate more than a slice could need, and reads values that may be broken; knows
nothing of what the values mean.
"""

import contextlib
import functools
import io
import math
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from noduleclip.errors import RejectCode, SliceError, shows_incompatibility

COPY_AGAIN: Final = "copy or download it again"
LEAVE_OUT: Final = "leave the file out"
LARGEST_HEADER_BYTES: Final = 8 * 2**20
MOST_ITEMS: Final = 1 << 16  # of sequences: pydicom makes a data set of each; 3,000 frames with 20 groups have 63,000
_MOST_READS: Final = 1 << 19  # two or three for an element or an item
MOST_SEPARATORS: Final = (
    1 << 18
)  # in all values of a header: pydicom takes 20 us for each number; 3,000 frames have 60,000
LONGEST_VALUE_BYTES: Final = 1 << 16  # of a value that is converted: the limit of explicit VR, for implicit VR as well
MOST_VALUES: Final = 1000
_ITEM_BYTES: Final = 8
_SEPARATOR: Final = b"\\"
_CHARACTER_SET_TAGS: Final = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_META_GROUP: Final = b"\x02\x00"
_NEVER_SPLIT: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "UN", "LT", "ST", "UR", "UT")
_NEVER_CONVERTED: Final = ("FL", "FD", "US or OW", "OB or OW", "US or SS or OW")
_FRAME_NUMBERS: Final = 0x00081160  # of any number, and never asked for
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little and big endian
_PIXEL_TAGS: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_GROUPS_AT_THE_START: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")


@dataclass(frozen=True)
class Header:
    """Header values by keyword; a conversion that fails is a rejection.

    Attributes:
        path: The file, for messages.
        dataset: What was read of it.
        pixels_at: Offset in the file at which reading stopped before the pixel data; 0 where they were read, too.
        frame: Index of the frame that it is the header of, from 0.
        groups: Where the values lie that a functional group gives for this frame, by keyword.
    """

    path: Path
    dataset: pydicom.Dataset
    pixels_at: int = 0
    frame: int = 0
    groups: Mapping[str, pydicom.Dataset] = field(default_factory=dict)

    def reject(self, code: RejectCode, fact: str, remedy: str) -> SliceError:
        """Make, not raise, the error that names the file, what was found and what to do."""
        return _rejection(self.path, code, fact, remedy)

    def value(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> object:
        """Return the value as pydicom converts it, None where the element is absent; raises `code` if malformed."""
        try:
            return self._find(keyword).get(keyword)
        except Exception as error:  # pydicom converts on access, and each type fails in its own way
            if shows_incompatibility(error):
                raise
            raise self.reject(code, f"the value of {keyword} is malformed", COPY_AGAIN) from error

    def text(self, keyword: str) -> str:
        """Return the value without blanks around it, empty where the element is absent."""
        value = self.value(keyword)
        return "" if value is None else str(value).strip()

    def numbers(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> list[float] | None:
        """Return all values, finite; an empty list where the element is empty, None where it is absent."""
        if keyword not in self._find(keyword):
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
        """Return the first value as a whole number, `absent` in place of one that is missing or empty."""
        numbers = self.numbers(keyword) or ([] if absent is None else [absent])
        if not numbers:
            raise self.reject(RejectCode.TRUNCATED_HEADER, f"the header has no {keyword}", COPY_AGAIN)
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
        for fact in _find_long(self.dataset, deep=deep):
            raise self.reject(RejectCode.TOO_LARGE, f"its header has {fact}", LEAVE_OUT)

    def _find(self, keyword: str) -> pydicom.Dataset:
        return self.groups.get(keyword, self.dataset)


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
        limit_bytes = LARGEST_HEADER_BYTES if stop_before_pixels else find_limit_bytes(max_pixels)
        in_memory = not stop_before_pixels and not is_large(path)
        with open_bounded(path, limit_bytes, find_limit_bytes(max_pixels), in_memory=in_memory) as file:
            dataset = pydicom.dcmread(file, limit_bytes, stop_before_pixels, specific_tags=_find_tags(tuple(tags)))
            pixels_at = file.tell() if stop_before_pixels else 0
        _refuse_many_items(dataset)
        _refuse_many_values(dataset)
        # Where the file ends in an element without a length, pydicom drops all that it read before.
        if not stop_before_pixels and not len(dataset) and len(read_header(path, max_pixels, tags).dataset):
            raise _rejection(path, RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short", COPY_AGAIN)
        return Header(path, dataset, pixels_at)
    except SliceError:
        raise
    except Exception as error:  # a parser on broken bytes raises whatever it runs into
        if shows_incompatibility(error):
            raise
        code, fact, remedy = _explain_unread(error, path, max_pixels)
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
    """Return whether a file is too large to be read at once before it is known what it holds."""
    try:
        return path.stat().st_size > LARGEST_HEADER_BYTES
    except (OSError, ValueError):  # who reads it says what is wrong with it
        return False


def _explain_unread(error: Exception, path: Path, max_pixels: int) -> tuple[RejectCode, str, str]:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return RejectCode.MISSING_FILE, "no such file", "check the path and the DICOM root"
        case OSError() if error.errno is not None:  # pydicom raises some of its own, without a number
            return RejectCode.UNREADABLE_FILE, f"cannot be read ({error.strerror})", "check its permissions"
        case InvalidDicomError() if _starts_with_an_element(path):
            fact = "not a DICOM file, but it looks like a data set without the 128 bytes and the DICM before it"
            return RejectCode.NOT_DICOM, fact, "repair it, for example with dcmconv IN OUT"
        case InvalidDicomError():
            return RejectCode.NOT_DICOM, "not DICOM: it has no DICM prefix", LEAVE_OUT
        case _InflatesTooFar():
            fact = f"deflated, it inflates beyond any slice of {max_pixels} pixels"
            return RejectCode.TOO_LARGE, fact, LEAVE_OUT
        case _ if isinstance(error, _ReadsTooFar) or isinstance(error.__context__, _ReadsTooFar):
            fact = f"its header is longer than {LARGEST_HEADER_BYTES // 2**20} MB"
            return RejectCode.TOO_LARGE, fact, LEAVE_OUT
        case _ if parts := [one for one in (error, error.__context__) if isinstance(one, _TooManyParts)]:
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
    return SliceError(code, f"{path}: {fact}; {remedy}")


def open_bounded(path: Path, limit_bytes: int, largest_inflated_bytes: int, *, in_memory: bool = False) -> BinaryIO:
    """Open a file of which no more than `limit_bytes` can be read, and that inflates no further than it should.

    One that is read whole anyway is read at once: pydicom makes a hundred small reads of a slice.
    """
    if in_memory:
        content = path.read_bytes()
        if str(DeflatedExplicitVRLittleEndian).encode() not in content:
            return io.BytesIO(content) if len(content) < _ITEM_BYTES * MOST_ITEMS else _CountedBytes(content)
    return _BoundedFile(path, limit_bytes, largest_inflated_bytes)


class _InflatesTooFar(Exception):  # noqa: N818 - never leaves this module
    """A deflated file is larger than any slice."""


class _ReadsTooFar(Exception):  # noqa: N818 - becomes a SliceError
    """More of a file was asked for than any slice has."""


class _TooManyParts(Exception):  # noqa: N818 - becomes a SliceError
    """A header has more elements, or more items of sequences, than that of any image."""


class _PartCount:
    """Counts what pydicom reads of a header: it makes one read of 8 bytes for each item, and up to three an element."""

    def __init__(self) -> None:
        self._items, self._reads, self._separators = 0, 0, 0
        self._element = b""

    def add(self, content: bytes) -> None:
        """Count a read.

        Raises:
            _TooManyParts: There were too many of them.
        """
        self._reads += 1
        if self._reads > _MOST_READS:
            raise _TooManyParts(f"more elements than can be read in {_MOST_READS:,} steps")
        if self._element[:4] in _CHARACTER_SET_TAGS or self._element[:2] == _META_GROUP:
            self._separators += content.count(_SEPARATOR)  # pydicom converts these at once
            if self._separators > MOST_SEPARATORS:
                raise _TooManyParts(f"over {MOST_SEPARATORS:,} values")
        if len(content) == _ITEM_BYTES:
            self._element = content
            if content[:4] in _ITEM_TAGS:
                self._items += 1
                if self._items > MOST_ITEMS:
                    raise _TooManyParts(f"over {MOST_ITEMS:,} items of sequences")


class _CountedBytes(io.BytesIO):
    """Bytes of a file whose parts are counted as pydicom reads them."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._parts = _PartCount()

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._parts.add(content)
        return content


def _refuse_many_items(dataset: pydicom.Dataset) -> None:
    """Refuse sequences that pydicom parses only when they are asked for, out of the reach of what counts reads.

    Raises:
        _TooManyParts: There are too many items in one of them, at all depths.
    """
    for tag in dataset.keys() - set(_PIXEL_TAGS):
        element: object = dataset.get_item(tag)
        value = element.value if isinstance(element, RawDataElement) else None
        if isinstance(value, bytes) and len(value) > _ITEM_BYTES * MOST_ITEMS:
            if len(value) > LARGEST_HEADER_BYTES:
                raise _ReadsTooFar("it is longer than any header")
            if any(value.count(item) > MOST_ITEMS for item in _ITEM_TAGS):
                raise _TooManyParts(f"over {MOST_ITEMS:,} items of sequences")


def _refuse_many_values(dataset: pydicom.Dataset) -> None:
    """Refuse values that would take pydicom long to convert: it does so where they are asked for, all at once.

    Raises:
        _TooManyParts: A value outside all sequences is too long, or all values together are too many.
    """
    separators = 0
    for element in dataset.values():
        separators += _count_separators(element)
        if fact := _explain_long(element):
            raise _TooManyParts(fact)
    if separators > MOST_SEPARATORS:
        raise _TooManyParts(f"over {MOST_SEPARATORS:,} values")


def _count_separators(element: object) -> int:
    """Count the backslashes in an element as it was read, at all depths, converting nothing."""
    match getattr(element, "value", None):
        case bytes() as value if getattr(element, "tag", 0) not in _PIXEL_TAGS:
            return value.count(_SEPARATOR)
        case pydicom.Sequence() as items:
            return sum(_count_separators(element) for item in items for element in item.values())
        case _:
            return 0


def _explain_long(element: object) -> str:
    """Return what is too much of an element that is not converted yet; empty where nothing is."""
    if not isinstance(element, RawDataElement) or element.value is None or len(element.value) <= MOST_VALUES:
        return ""
    value = element.value
    if element.tag in _PIXEL_TAGS:
        return ""
    vr = _find_vr(element)
    if vr == "SQ" or vr in _NEVER_SPLIT or vr in _NEVER_CONVERTED or element.tag == _FRAME_NUMBERS:
        return ""
    name = keyword_for_tag(element.tag) or str(element.tag)
    if len(value) > LONGEST_VALUE_BYTES:
        return f"a value of over {LONGEST_VALUE_BYTES // 2**10} kB in {name}"
    return f"over {MOST_VALUES:,} values in {name}" if value.count(_SEPARATOR) >= MOST_VALUES else ""


def _find_vr(element: RawDataElement) -> str:
    """Return the VR that pydicom converts by; of an implicit one, and where it is UN, that of the dictionary."""
    if element.VR not in (None, "UN"):
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"


def _find_long(dataset: pydicom.Dataset, *, deep: bool) -> Iterator[str]:
    """Yield what is too much; where `deep`, parses the sequences that are long enough to hold it."""
    for element in list(dataset.values()):
        if fact := _explain_long(element):
            yield fact
        elif deep:
            for item in _parse_items(dataset, element):
                yield from _find_long(item, deep=True)


def _parse_items(dataset: pydicom.Dataset, element: object) -> Iterable[pydicom.Dataset]:
    """Return the items of a sequence that may hold long values; none where the element is no such sequence."""
    value = getattr(element, "value", None)
    if isinstance(element, RawDataElement) and isinstance(value, bytes) and _find_vr(element) == "SQ":
        if len(value) <= LONGEST_VALUE_BYTES and value.count(_SEPARATOR) < MOST_VALUES:
            return ()
        value = dataset[element.tag].value
    return value if isinstance(value, pydicom.Sequence) else ()


class _BoundedFile(io.BufferedReader):
    """A file that cannot make pydicom allocate more than it should.

    pydicom reads "all the rest" for one purpose only, to inflate it at once; it does so even for a header.
    """

    def __init__(self, path: Path, limit_bytes: int, largest_inflated_bytes: int) -> None:
        super().__init__(io.FileIO(str(path)))
        self._size_bytes = os.fstat(self.fileno()).st_size
        self._left_bytes = limit_bytes
        self._parts = _PartCount()
        self._largest_inflated_bytes = largest_inflated_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            content = super().read(min(size, self._left_bytes))
            self._parts.add(content)
            self._left_bytes -= len(content)
            if len(content) < size and self.tell() < self._size_bytes:
                raise _ReadsTooFar("it is longer than any slice")
            return content
        limit = self._largest_inflated_bytes
        rest = super().read(limit + 1)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(rest, limit + 1)
        if max(len(rest), len(inflated)) > limit:
            raise _InflatesTooFar
        # pydicom parses what it inflates from memory, where nothing is counted: parse it here before.
        read_dataset(
            _CountedBytes(inflated),
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, _vr, _length: tag in _PIXEL_TAGS,
            specific_tags=[Tag("PatientID")],
        )
        return rest
