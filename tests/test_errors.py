"""What a message becomes before anyone sees it."""

import pytest

from conftest import Command
from noduleclip.errors import InputError, RejectCode, SliceError, make_encodable, make_printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ünïcode – ≥ 6 mm, 結節", "Ünïcode – ≥ 6 mm, 結節"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x9b31mred", r"\x9b31mred"),
        ("two\nlines\r\tand\u2028more", "two lines  and more"),
        ("a\0b\x7fc\u202ed\ufeff", r"a\x00b\x7fc\u202ed\ufeff"),
        ("not UTF-8: \udcff", r"not UTF-8: \xff"),
        ("half of a pair: \ud83d", r"half of a pair: \ud83d"),
    ],
)
def test_a_text_from_elsewhere_moves_no_cursor(text: str, shown: str) -> None:
    assert make_printable(text) == shown
    assert str(InputError(text)) == shown


def test_a_text_for_a_file_keeps_all_that_utf8_has() -> None:
    assert make_encodable("結節\x1b\udce9\n") == "結節\x1b\\xe9\n"


def test_a_long_message_keeps_its_start_and_its_end() -> None:
    message = str(SliceError(RejectCode.NOT_CT, f"slice.dcm: {'x' * 9000}; leave the file out"))
    assert len(message) < 2001
    assert message.startswith("slice.dcm: x")
    assert message.endswith("x; leave the file out")


def test_control_characters_of_a_table_do_not_reach_the_terminal(noduleclip: Command, tmp_path: object) -> None:
    outcome = noduleclip("split", "--roi-csv", "\x1b[2J.csv", "--out", tmp_path)
    assert outcome.code == 3
    assert outcome.err == "error: \\x1b[2J.csv: no such ROI table\n"
