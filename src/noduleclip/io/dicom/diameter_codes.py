"""Codes of the kinds of diameters in reports, as the Measurement Method of a Diameter.

DICOM has no codes for these kinds: CID 7470 names lengths and axes, CIDs 3838 and 7464 the minimum, maximum and mean,
CID 6140 methods in two and three dimensions, each of which fits several kinds. So they are of a private scheme.

Source:
    DICOM PS3.16 TID 300 and 1419, the row of (370129005, SCT, "Measurement Method"); PS3.16 section 8.2 for schemes
    that begin with 99.
"""

from typing import Final

from pydicom.sr.coding import Code

from noduleclip import schema

SCHEME: Final = "99NODULECLIP"
SCHEME_NAME: Final = "noduleclip: kinds of diameters"
MEASUREMENT_METHOD: Final = ("370129005", "G-C306")  # SCT, and SRT before it
_MEANINGS: Final = {
    "in-slice": "Largest distance of two points of the outline on one slice",
    "axes-mean": "Mean of long axis and perpendicular chord on one slice",
    "equivalent": "Diameter of the circle of the outline's area on one slice",
    "3d": "Largest distance of two points of an outline over all slices",
    "volume": "Diameter of the sphere of the volume",
}
_UNKNOWN: Final = Code("261665006", "SCT", "Unknown")


def code_kind(kind: str) -> Code:
    """Return the code of a kind of diameters; of one that has none the code that says Unknown."""
    return Code(kind, SCHEME, _MEANINGS[kind]) if kind in _MEANINGS else _UNKNOWN


def parse_kind(value: str, scheme: str) -> str:
    """Return the kind of diameters that a code names; empty for codes of other producers."""
    value, scheme = value.strip(), scheme.strip()
    if (value, scheme) == (_UNKNOWN.value, _UNKNOWN.scheme_designator):
        return schema.UNKNOWN_KIND
    return value if scheme == SCHEME and value in _MEANINGS else ""
