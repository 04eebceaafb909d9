"""The request of a search: sentences or a nodule, filters, ranking. The one place where its values are checked."""

import shlex
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


def format_command(
    request: SearchRequest, emb_dir: str, *, model: Path | None = None, queries_file: Path | None = None
) -> str:
    """Return the command line of a search, without options at their defaults.

    Args:
        request: The search.
        emb_dir: The index.
        model: Checkpoint that was compared with the index.
        queries_file: File that the sentences came from.
    """
    filters, sentences = request.filters, request.sentences
    typed: list[tuple[str, object]] = [
        ("--emb-dir", emb_dir), ("--model", model),
        ("--query", sentences[0] if sentences and queries_file is None else None), ("--queries-file", queries_file),
        ("--topk", "all" if request.k is None else request.k), ("--min-probability", request.min_probability),
        ("--min-score", request.min_score), ("--where", filters.where or None), ("--unique", request.unique),
        ("--patients-file", filters.patients if isinstance(filters.patients, Path) else None), ("--like", request.like),
    ]  # fmt: skip
    if request.like is not None:
        typed.append(("--like-weight", f"{request.like_weight:g}"))
    if request.alpha is not None:
        typed += [("--alpha", f"{request.alpha:g}"), ("--softness-mm", f"{request.softness_mm:g}")]
        typed.append(("--rule", None if request.rule == "measured" else request.rule))
    words = [text for option, value in typed if value is not None for text in (option, str(value))]
    words += [option for option, is_set in (("--exact", request.exact), ("--free-text", request.free_text)) if is_set]
    return shlex.join(["noduleclip", "query" if request.alpha is None else "fuse", *words])


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
