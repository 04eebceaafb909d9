"""The request of a search: sentences or a nodule, filters, ranking. The one place where its values are checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from noduleclip.config import SOFTNESS_MM
from noduleclip.errors import InputError, UsageError
from noduleclip.io.index.rows import UNIQUE_COLUMNS
from noduleclip.io.text_lines import read_lines

Rule = Literal["measured", "estimated"]
HITS: Final = 10
"""Hits per sentence, where neither a number nor a cut-off is given."""


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """Which rows are ranked; all conditions together.

    Attributes:
        where: Condition in the language of `io.index.conditions`; empty = none.
        patients: Ids, or a file with one a line; None = all patients. Ids are compared trimmed and case-folded.
        min_diameter_mm: Smallest diameter.
        max_diameter_mm: Largest diameter.
        rows: Rows of the index; None = all. Those that it does not have are left out.

    Raises:
        UsageError: `patients` is a single text.
    """

    where: str = ""
    patients: Sequence[str] | Path | None = None
    min_diameter_mm: float | None = None
    max_diameter_mm: float | None = None
    rows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.patients, str):
            raise UsageError("patients must be a sequence of ids or a Path, not a single text")
        if self.patients is not None and not isinstance(self.patients, Path):
            object.__setattr__(self, "patients", tuple(self.patients))
        if self.rows is not None:
            object.__setattr__(self, "rows", tuple(self.rows))

    def __bool__(self) -> bool:
        return self != RowFilter()


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What to search for, among which rows, and how they are scored.

    Attributes:
        sentences: Each is answered by itself; may be empty where `like` is given.
        like: Nodule that the hits are to resemble, alone or beside a sentence: a row of the index, a slice of it, or a
            place in pixels of a DICOM file, "PATH:x,y".
        like_weight: Weight of the resemblance beside a sentence, in [0, 1].
        k: Hits per sentence; None = all.
        filters: Which rows are ranked.
        unique: Column group of which only the best row is a hit: nodule, slice, series or patient; None = every row.
        alpha: Weight of the image beside measured diameters and ratings, in [0, 1]; None = the image alone ranks.
        softness_mm: How far outside the interval a diameter still counts; 0 = not at all.
        rule: What is weighed beside the image: "measured" diameters and ratings alone, or the "estimated" ones, too,
            where none were measured.
        min_probability: Smallest probability of a hit that the sentence is true of it, in [0, 1]; None = no cut-off.
        min_score: Smallest fused score of a hit, in [0, 1]; None = no cut-off.
        exact: Rank all rows where a vector index could answer.
        free_text: Rank by the words of a sentence of which neither a size nor a rating was understood.

    Raises:
        UsageError: A value is not allowed.
    """

    sentences: Sequence[str] = ()
    like: str | None = None
    like_weight: float = 0.5
    k: int | None = HITS
    filters: RowFilter = field(default_factory=RowFilter)
    unique: str | None = None
    alpha: float | None = None
    softness_mm: float = SOFTNESS_MM
    rule: Rule = "measured"
    min_probability: float | None = None
    min_score: float | None = None
    exact: bool = False
    free_text: bool = False

    def __post_init__(self) -> None:
        if not self.sentences and self.like is None:
            raise UsageError("a search needs a sentence, or a nodule to resemble (like)")
        if self.k is not None and self.k < 1:
            raise UsageError(f"k must be at least 1, got {self.k}")
        if self.rule not in get_args(Rule):
            raise UsageError(f"rule must be {' or '.join(get_args(Rule))}, got {self.rule[:50]!r}")
        if self.min_probability is not None and not self.sentences:
            raise UsageError("--min-probability needs a sentence: likeness to a nodule has no probability")
        shares = ("like_weight", "alpha", "min_probability", "min_score")
        for name, share in ((name, getattr(self, name)) for name in shares):
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name} must lie in [0, 1], got {share}")
        if not self.softness_mm >= 0:
            raise UsageError(f"softness_mm must be at least 0, got {self.softness_mm}")
        if self.unique is not None and self.unique not in UNIQUE_COLUMNS:
            raise UsageError(f"unique must be one of {', '.join(UNIQUE_COLUMNS)}, got {self.unique[:50]!r}")


def choose_k(k: int | Literal["auto", "all"] | None, *, has_cut_off: bool) -> int | None:
    """Return the hits per sentence, None = all: "auto" is `HITS`, or all where a cut-off bounds them."""
    if k == "auto":
        return None if has_cut_off else HITS
    return None if k == "all" else k


def load_sentences(path: Path) -> list[str]:
    """Load sentences from a file, one a line; blank lines and lines starting with `#` are skipped.

    Raises:
        InputError: The file cannot be read, holds none, or too many.
    """
    try:
        sentences = list(read_lines(path, "sentences"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not sentences:
        raise InputError(f"{path}: holds no sentence; expected one a line")
    return sentences
