"""What a message becomes before anyone sees it, and whom an error of a library blames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from conftest import Command
from noduleclip.errors import (
    InputError,
    RejectCode,
    SliceError,
    make_encodable,
    make_printable,
    shows_incompatibility,
)
from noduleclip.io.dicom import header as dicom_header
from noduleclip.io.dicom import pixels as dicom_pixels
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.phantom.patients import PhantomConfig, make_phantoms


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


def raised_by(work: Callable[[], object]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("work", "is_incompatible"),
    [
        (lambda: __import__("noduleclip_of_nowhere"), True),
        (lambda: pydicom.no_such_function(), True),  # type: ignore[attr-defined]
        (lambda: pydicom.Dataset.no_such_method(), True),  # type: ignore[attr-defined]
        (lambda: pydicom.Dataset().PatientID, False),
        (lambda: [1].upper(), False),  # type: ignore[attr-defined]
        (lambda: int([]), False),  # type: ignore[call-overload]
        (lambda: float("x"), False),
        (lambda: pydicom.dcmread(no_such_option=1), False),  # type: ignore[call-arg]  # called by others than us
    ],
)
def test_an_incompatible_library_is_told_from_a_broken_file(work: Callable[[], object], is_incompatible: bool) -> None:
    assert shows_incompatibility(raised_by(work)) is is_incompatible


@pytest.fixture(scope="module")
def ct_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    make_phantoms(folder, PhantomConfig(patients=1, matrix_px=96))
    return next(folder.rglob("*.dcm"))


def out_of_memory(*_arguments: Any, **_options: Any) -> None:
    raise MemoryError


def lacking(*_arguments: Any, **_options: Any) -> None:
    pydicom.no_such_function()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("where", "name", "substitute", "expected"),
    [
        (dicom_header, "read_partial", out_of_memory, MemoryError),
        (dicom_header, "read_partial", lacking, AttributeError),
        (dicom_pixels, "get_decoder", out_of_memory, MemoryError),
        (dicom_pixels, "get_decoder", lacking, AttributeError),
        (pydicom.Dataset, "get", out_of_memory, MemoryError),
    ],
)
def test_a_slice_is_not_rejected_for_what_its_library_lacks(
    ct_file: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, substitute: Any, expected: type[Exception]
) -> None:
    monkeypatch.setattr(where, name, substitute)
    with pytest.raises(expected):
        read_ct_slice(ct_file)


def test_a_call_that_pydicom_does_not_take_is_no_broken_header(ct_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "read_partial", lambda file: None)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        read_ct_slice(ct_file)
