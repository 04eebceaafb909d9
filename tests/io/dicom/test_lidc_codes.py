"""Codes of LIDC's ratings: each rating has one, and is found by it."""

import pytest

from importers.segmentations import NAMES, VALUES
from noduleclip import schema
from noduleclip.importers.annotations import LAST_RATING
from noduleclip.io.dicom.lidc_codes import ATTRIBUTES, code_rating, find_attribute, is_on_scale, parse_rating

RATINGS = [(name, rating) for name, last in LAST_RATING.items() for rating in range(1, last + 1)]


def test_every_rating_is_found_by_its_code() -> None:
    for name, rating in RATINGS:
        code = code_rating(name, rating)
        assert parse_rating(name, code.value, "") == rating
        assert parse_rating(name, code.value, code.meaning) == rating
        assert find_attribute(ATTRIBUTES[name].value) == name


def test_codes_are_those_of_the_standardised_annotations() -> None:
    for name, code in NAMES.items():
        assert (ATTRIBUTES[name].value, ATTRIBUTES[name].scheme, ATTRIBUTES[name].meaning) == code
    for key, code in VALUES.items():
        made = code_rating(*key)
        assert (made.value, made.scheme, made.meaning) == code


@pytest.mark.parametrize(("name", "last"), LAST_RATING.items())
def test_a_scale_ends(name: str, last: int) -> None:
    assert is_on_scale(name, 1) and is_on_scale(name, last - 0.5) and is_on_scale(name, last)
    assert not any(is_on_scale(name, rating) for rating in (0.5, last + 0.5, float("nan"), float("inf")))
    with pytest.raises(KeyError):
        code_rating(name, last + 1)


def test_a_meaning_out_of_five_is_no_kind() -> None:
    assert parse_rating(schema.TEXTURE, "X1", "4 out of 5") == 4
    assert parse_rating(schema.CALCIFICATION, "X1", "4 out of 5") is None
    assert parse_rating(schema.TEXTURE, "X1", "solid") is None
    assert find_attribute("X1") is None
