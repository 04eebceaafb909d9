"""Codes of LIDC's ratings in reports, as in the standardised LIDC annotations.

Source:
    Fedorov et al., Medical Physics 2020, doi:10.1002/mp.14445; its tables of concepts and values.
"""

import re
from dataclasses import dataclass
from typing import Final

from noduleclip import schema

_LIDC, _NCIT, _RADLEX = "99LIDCQIICR", "NCIt", "RadLex"
_OF_FIVE: Final = re.compile(r"([1-5]) out of 5\b")
_KINDS: Final = (schema.INTERNAL_STRUCTURE, schema.CALCIFICATION)  # whose numbers are no scale


@dataclass(frozen=True)
class LidcCode:
    """A coded term.

    Attributes:
        value: Code Value.
        scheme: Coding Scheme Designator.
        meaning: Code Meaning.
    """

    value: str
    scheme: str
    meaning: str


ATTRIBUTES: Final = {
    schema.SUBTLETY: LidcCode("C45992", _NCIT, "Subtlety score"),
    schema.INTERNAL_STRUCTURE: LidcCode("200", _LIDC, "Internal structure"),
    schema.CALCIFICATION: LidcCode("C3672", _NCIT, "Calcification"),
    schema.SPHERICITY: LidcCode("400", _LIDC, "Sphericity"),
    schema.MARGIN: LidcCode("C25563", _NCIT, "Margin"),
    schema.LOBULATION: LidcCode("C62175", _NCIT, "Lobular Pattern"),
    schema.SPICULATION: LidcCode("C28749", _NCIT, "Spiculation"),
    schema.TEXTURE: LidcCode("C41144", _NCIT, "Texture"),
    schema.MALIGNANCY: LidcCode("RID36042", _RADLEX, "Malignancy"),
}
"""The name of each rating, by column."""
_GENERIC: Final = {rating: LidcCode(f"00{rating}", _LIDC, f"{rating} out of 5") for rating in range(1, 6)}


def _scale(hundreds: int, meanings: dict[int, str]) -> dict[int, LidcCode]:
    return {
        rating: LidcCode(f"{hundreds + rating}", _LIDC, f"{rating} out of 5 ({meaning})")
        for rating, meaning in meanings.items()
    }


_RATINGS: Final = {
    schema.SUBTLETY: _scale(
        100,
        {1: "Extremely subtle", 2: "Moderately subtle", 3: "Fairly subtle", 4: "Moderately obvious", 5: "Obvious"},
    ),
    schema.INTERNAL_STRUCTURE: {
        1: LidcCode("C12471", _NCIT, "Soft tissue"),
        2: LidcCode("C25278", _NCIT, "Fluid"),
        3: LidcCode("C12472", _NCIT, "Adipose tissue"),
        4: LidcCode("C73434", _NCIT, "Air"),
    },
    schema.CALCIFICATION: {
        1: LidcCode("RID35453", _RADLEX, "Popcorn calcification sign"),
        2: LidcCode("302", _LIDC, "Laminated appearance"),
        3: LidcCode("RID5741", _RADLEX, "Solid appearance"),
        4: LidcCode("304", _LIDC, "Non-central appearance"),
        5: LidcCode("RID5827", _RADLEX, "Central calcification"),
        6: LidcCode("RID28473", _RADLEX, "Absent"),
    },
    schema.SPHERICITY: _GENERIC
    | {
        1: LidcCode("RID5811", _RADLEX, "linear"),
        3: LidcCode("RID5800", _RADLEX, "ovoid"),
        5: LidcCode("RID5799", _RADLEX, "round"),
    },
    schema.MARGIN: _GENERIC
    | {1: LidcCode("RID5709", _RADLEX, "Indistinct margin"), 5: LidcCode("RID5707", _RADLEX, "Circumscribed margin")},
    schema.LOBULATION: _GENERIC | _scale(600, {1: "No lobulation", 5: "Marked lobulation"}),
    schema.SPICULATION: _GENERIC | _scale(700, {1: "No spiculation", 5: "Marked spiculation"}),
    schema.TEXTURE: _GENERIC
    | {
        1: LidcCode("RID50153", _RADLEX, "non-solid pulmonary nodule"),
        3: LidcCode("RID50152", _RADLEX, "part-solid pulmonary nodule"),
        5: LidcCode("RID50151", _RADLEX, "solid pulmonary nodule"),
    },
    schema.MALIGNANCY: _scale(
        900,
        {
            1: "Highly Unlikely for Cancer",
            2: "Moderately Unlikely for Cancer",
            3: "Indeterminate Likelihood",
            4: "Moderately Suspicious for Cancer",
            5: "Highly Suspicious for Cancer",
        },
    ),
}
_OLDER_NAMES: Final = {"600": schema.LOBULATION, "700": schema.SPICULATION, "900": schema.MALIGNANCY}
_OLDER_RATINGS: Final = {schema.CALCIFICATION: {"303": 3, "305": 5}}
_COLUMN_OF: Final = {code.value: column for column, code in ATTRIBUTES.items()} | _OLDER_NAMES
_RATING_OF: Final = {
    column: {code.value: rating for rating, code in codes.items()} | _OLDER_RATINGS.get(column, {})
    for column, codes in _RATINGS.items()
}


def find_attribute(value: str) -> str | None:
    """Return the column of the rating that a Code Value names; None where it names none."""
    return _COLUMN_OF.get(value)


def code_rating(column: str, rating: int) -> LidcCode:
    """Return the code of a rating of one attribute; raises `KeyError` for one off its scale."""
    return _RATINGS[column][rating]


def is_on_scale(column: str, rating: float) -> bool:
    """Return whether a rating, which may be a mean, lies on the scale of its attribute."""
    return 1 <= rating <= max(_RATINGS[column])


def parse_rating(column: str, value: str, meaning: str) -> int | None:
    """Return a rating by its Code Value, else by its meaning, "3 out of 5"; None where it is neither."""
    by_code = _RATING_OF[column].get(value)
    if by_code is not None:
        return by_code
    found = _OF_FIVE.match(meaning)
    return int(found[1]) if found and column not in _KINDS else None
