"""Limits on header values, checked before pydicom converts them: it does so when they are asked for, all at once."""

from collections.abc import Iterable, Iterator
from typing import Final

import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement

from noduleclip.io.dicom.bounded_file import (
    ITEM_BYTES,
    ITEM_TAGS,
    MOST_ITEMS,
    MOST_SEPARATORS,
    PIXEL_TAGS,
    SEPARATOR,
    ReadsTooFar,
    TooManyParts,
)

LONGEST_VALUE_BYTES: Final = 1 << 16  # of a value that is converted: the limit of explicit VR, for implicit VR as well
MOST_VALUES: Final = 1000
_NEVER_SPLIT: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "UN", "LT", "ST", "UR", "UT")
_NEVER_CONVERTED: Final = ("FL", "FD", "US or OW", "OB or OW", "US or SS or OW")
_FRAME_NUMBERS: Final = 0x00081160  # of any number, and never asked for


def check_item_count(dataset: pydicom.Dataset, largest_bytes: int) -> None:
    """Check sequences that pydicom parses only when they are asked for, where the counting of reads does not reach.

    Raises:
        ReadsTooFar: One is longer than `largest_bytes`; pydicom leaves it in the file, and would read it when asked.
        TooManyParts: There are too many items in one of them, at all depths.
    """
    element: object
    for element in dataset.values():  # get_item would read what was left out as too long
        if not isinstance(element, RawDataElement) or element.tag in PIXEL_TAGS:
            continue
        value = element.value
        if value is None and element.length > largest_bytes:
            raise ReadsTooFar("it is longer than any header")
        if isinstance(value, bytes) and len(value) > ITEM_BYTES * MOST_ITEMS:
            if len(value) > largest_bytes:
                raise ReadsTooFar("it is longer than any header")
            if any(value.count(item) > MOST_ITEMS for item in ITEM_TAGS):
                raise TooManyParts(f"over {MOST_ITEMS:,} items of sequences")


def check_value_lengths(dataset: pydicom.Dataset) -> None:
    """Check that no value, and not all together, would take pydicom long to convert.

    Raises:
        TooManyParts: A value outside all sequences is too long, or all values together are too many.
    """
    separators = 0
    for element in dataset.values():
        separators += _count_separators(element)
        if fact := _explain_long(element):
            raise TooManyParts(fact)
    if separators > MOST_SEPARATORS:
        raise TooManyParts(f"over {MOST_SEPARATORS:,} values")


def _count_separators(element: object) -> int:
    """Count the backslashes in an element as it was read, at all depths, converting nothing."""
    match getattr(element, "value", None):
        case bytes() as value if getattr(element, "tag", 0) not in PIXEL_TAGS:
            return value.count(SEPARATOR)
        case pydicom.Sequence() as items:
            return sum(_count_separators(element) for item in items for element in item.values())
        case _:
            return 0


def _explain_long(element: object) -> str:
    """Return why an element that is not converted yet is too long; empty if it is not."""
    if not isinstance(element, RawDataElement) or element.value is None or len(element.value) <= MOST_VALUES:
        return ""
    value = element.value
    if element.tag in PIXEL_TAGS:
        return ""
    vr = _find_vr(element)
    if vr == "SQ" or vr in _NEVER_SPLIT or vr in _NEVER_CONVERTED or element.tag == _FRAME_NUMBERS:
        return ""
    name = keyword_for_tag(element.tag) or str(element.tag)
    if len(value) > LONGEST_VALUE_BYTES:
        return f"a value of over {LONGEST_VALUE_BYTES // 2**10} kB in {name}"
    return f"over {MOST_VALUES:,} values in {name}" if value.count(SEPARATOR) >= MOST_VALUES else ""


def _find_vr(element: RawDataElement) -> str:
    """Return the VR that pydicom converts by: that of the dictionary where it is implicit or UN."""
    if element.VR not in (None, "UN"):
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"


def find_long_values(dataset: pydicom.Dataset, *, deep: bool) -> Iterator[str]:
    """Yield a description of each value that is too long; `deep` also parses sequences that are long enough for one."""
    for element in list(dataset.values()):
        if fact := _explain_long(element):
            yield fact
        elif deep:
            for item in _parse_items(dataset, element):
                yield from find_long_values(item, deep=True)


def _parse_items(dataset: pydicom.Dataset, element: object) -> Iterable[pydicom.Dataset]:
    """Return the items of a sequence that may hold long values; none where the element is no such sequence."""
    value = getattr(element, "value", None)
    if isinstance(element, RawDataElement) and isinstance(value, bytes) and _find_vr(element) == "SQ":
        if len(value) <= LONGEST_VALUE_BYTES and value.count(SEPARATOR) < MOST_VALUES:
            return ()
        value = dataset[element.tag].value
    return value if isinstance(value, pydicom.Sequence) else ()
