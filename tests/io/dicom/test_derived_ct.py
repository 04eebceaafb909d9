"""UIDs of derived slices: always the same, and of no other slice."""

import itertools

from noduleclip.io.dicom.derived_ct import make_derived_uid


def test_no_two_slices_share_a_uid() -> None:
    """Also where a name and a number could be read as another name and another number."""
    names = ("s1", "s11", "s111", "1", "")
    parts = (0, 1, 10, 11, 110, "series", "study")
    uids = [make_derived_uid(name, part) for name, part in itertools.product(names, parts)]
    assert len(set(uids)) == len(uids)
    assert make_derived_uid("s1", 3) == make_derived_uid("s1", 3)
