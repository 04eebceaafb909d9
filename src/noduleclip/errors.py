"""Errors that a user can cause, each with its exit code.

Anything else that escapes a command is a defect of ours: it keeps its traceback and exits with 1.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from types import ModuleType
from typing import ClassVar, Final

_LONGEST_MESSAGE: Final = 2000
_MOST_NAMES: Final = 2
_WRONG_CALL: Final = re.compile(
    r"(unexpected|invalid) keyword|takes (no|at most|exactly|from|\d+) .*(argument|keyword)|missing \d+ required"
)


def make_printable(text: str) -> str:
    """Return a text from outside as one printable line: line breaks become blanks, other controls are spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _spell_out(c) for c in text)


def make_encodable(text: str) -> str:
    """Return a text that can be written as UTF-8: bytes of a file's name that are none are spelled out."""
    if is_encodable(text):
        return text
    return "".join(c if is_encodable(c) else _spell_out(c) for c in text)


def is_encodable(text: str) -> bool:
    """Return whether a text, such as the name of a file, can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _spell_out(character: str) -> str:
    if character.isspace():
        return " "
    if "\udc80" <= character <= "\udcff":  # how Python decodes a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def suggest_names(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name, "; did you mean 'patient_id'?"; empty where none is near."""
    import difflib

    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), folded, _MOST_NAMES, 0.6)
    near = near or [one for one in folded if name.casefold() in one][:_MOST_NAMES]
    return f"; did you mean {' or '.join(repr(folded[one][:40]) for one in near)}?" if near else ""


def remedy_for_version(found: object, known: int, remedy: str) -> str:
    """Return what to do about a file of another schema version: upgrade for a newer one, else `remedy`."""
    return "pip install --upgrade noduleclip" if isinstance(found, int) and found > known else remedy


def shows_incompatibility(error: BaseException) -> bool:
    """Return whether an error comes from the environment, such as an incompatible library, not from a file.

    A parser raises anything on a broken file, so code around one catches everything and rejects the file. What must
    pass there is a failed import, a name that a module or class of an installed library lacks, a call by this package
    that a library does not take, and a lack of memory: every file would be rejected for it.
    """
    if isinstance(error, ImportError | MemoryError):
        return True
    if isinstance(error, AttributeError):
        return isinstance(error.obj, ModuleType | type)
    return isinstance(error, TypeError) and _WRONG_CALL.search(str(error)) is not None and _is_raised_here(error)


def _is_raised_here(error: BaseException) -> bool:
    """Return whether the innermost frame of a traceback belongs to this package."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return (
        frame is not None
        and str(frame.tb_frame.f_globals.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
    )


class NoduleclipError(Exception):
    """Base class of expected failures, shown as one printable line; the middle of a long one is left out."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        shown = make_printable(message)
        half = _LONGEST_MESSAGE // 2 - 1
        super().__init__(shown if len(shown) <= _LONGEST_MESSAGE else f"{shown[:half]}…{shown[-half:]}")


class UsageError(NoduleclipError):
    """The command line, an argument, the environment or a config file is invalid."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is outside its range, or unknown."""


class SizeLanguageError(UsageError):
    """A size in a sentence contradicts itself or has an unreadable number."""


class RatingLanguageError(UsageError):
    """Ratings in a sentence contradict each other, or are no single range on their scale."""


class LibraryError(UsageError):
    """An installed library is incompatible or broken."""


class InputError(NoduleclipError):
    """A table, a patient list or a DICOM file is unreadable or invalid."""

    exit_code = 3


class OutputError(NoduleclipError):
    """A file cannot be written: no space, or no permission."""

    exit_code = 3


class PeerError(NoduleclipError):
    """Another process of a distributed run ended early."""

    exit_code = 3


class RejectCode(StrEnum):
    """Why a row of a ROI table cannot be used, as written to `rejects.csv`."""

    MISSING_FILE = "missing-file"
    UNREADABLE_FILE = "unreadable-file"
    EMPTY_FILE = "empty-file"
    NOT_DICOM = "not-dicom"
    TRUNCATED_HEADER = "truncated-header"
    BAD_HEADER = "bad-header"
    NOT_CT = "not-ct"
    LOCALIZER = "localizer"
    COLOUR = "colour"
    NOT_AXIAL = "not-axial"
    MULTI_FRAME = "multi-frame"
    BAD_FRAME = "bad-frame"
    TOO_LARGE = "too-large"
    MODALITY_LUT = "modality-lut"
    NO_RESCALE = "no-rescale"
    BAD_RESCALE = "bad-rescale"
    NOT_HU = "not-hu"
    BAD_SPACING = "bad-spacing"
    NO_DECODER = "no-decoder"
    NO_PIXEL_DATA = "no-pixel-data"
    TRUNCATED_PIXELS = "truncated-pixels"
    DECODE_FAILED = "decode-failed"
    NO_SPACING = "no-spacing"
    SPACING_MISMATCH = "spacing-mismatch"
    BAD_NUMBER = "bad-number"
    OUTSIDE = "outside"
    NO_DIAMETER = "no-diameter"
    NO_SERIES = "no-series"
    NO_SLICE = "no-slice"
    BAD_XML = "bad-xml"
    BAD_SEGMENTATION = "bad-segmentation"
    BAD_REPORT = "bad-report"
    BAD_STRUCTURE_SET = "bad-structure-set"
    BAD_MASK = "bad-mask"
    EMPTY_MASK = "empty-mask"
    OTHER_GRID = "other-grid"
    NO_IMAGE = "no-image"


class SliceError(InputError):
    """One DICOM file cannot become a CT slice in Hounsfield units.

    Attributes:
        code: The reason.
    """

    def __init__(self, code: RejectCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ArtefactError(NoduleclipError):
    """A checkpoint, an index or another file written by this tool is missing, broken or of the wrong kind."""

    exit_code = 4


class IndexReplacedError(ArtefactError):
    """Another process replaced an index while it was read; open the index again and repeat the call."""
