"""The request of a search: sentences or a nodule, filters, ranking. The one place where its values are checked."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from noduleclip.config import SOFTNESS_MM
from noduleclip.errors import InputError, UsageError
from noduleclip.io.index.rows import UNIQUE_COLUMNS
from noduleclip.io.text_lines import read_lines


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """Which rows are ranked; all conditions together.

    Attributes:
        where: Condition in the language of `io.index.conditions`; empty = none.
        patients: Ids, or a file with one a line; None = all patients. Ids are compared trimmed and case-folded.
        min_diameter_mm: Smallest diameter.
        max_diameter_mm: Largest diameter.

    Raises:
        UsageError: `patients` is a single text.
    """

    where: str = ""
    patients: Sequence[str] | Path | None = None
    min_diameter_mm: float | None = None
    max_diameter_mm: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.patients, str):
            raise UsageError("patients must be a sequence of ids or a Path, not a single text")
        if self.patients is not None and not isinstance(self.patients, Path):
            object.__setattr__(self, "patients", tuple(self.patients))

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
        k: Hits per sentence.
        filters: Which rows are ranked.
        unique: Column group of which only the best row is a hit: nodule, slice, series or patient; None = every row.
        alpha: Weight of the image beside measured diameters and ratings, in [0, 1]; None = the image alone ranks.
        softness_mm: How far outside the interval a diameter still counts; 0 = not at all.
        exact: Rank all rows where a vector index could answer.

    Raises:
        UsageError: A value is not allowed.
    """

    sentences: Sequence[str] = ()
    like: str | None = None
    like_weight: float = 0.5
    k: int = 10
    filters: RowFilter = field(default_factory=RowFilter)
    unique: str | None = None
    alpha: float | None = None
    softness_mm: float = SOFTNESS_MM
    exact: bool = False

    def __post_init__(self) -> None:
        if not self.sentences and self.like is None:
            raise UsageError("a search needs a sentence, or a nodule to resemble (like)")
        if self.k < 1:
            raise UsageError(f"k must be at least 1, got {self.k}")
        for name, share in (("like_weight", self.like_weight), ("alpha", self.alpha)):
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name} must lie in [0, 1], got {share}")
        if not self.softness_mm >= 0:
            raise UsageError(f"softness_mm must be at least 0, got {self.softness_mm}")
        if self.unique is not None and self.unique not in UNIQUE_COLUMNS:
            raise UsageError(f"unique must be one of {', '.join(UNIQUE_COLUMNS)}, got {self.unique[:50]!r}")


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
        ("--topk", request.k), ("--where", filters.where or None), ("--unique", request.unique),
        ("--patients-file", filters.patients if isinstance(filters.patients, Path) else None), ("--like", request.like),
    ]  # fmt: skip
    if request.like is not None:
        typed.append(("--like-weight", f"{request.like_weight:g}"))
    if request.alpha is not None:
        typed += [("--alpha", f"{request.alpha:g}"), ("--softness-mm", f"{request.softness_mm:g}")]
    words = [text for option, value in typed if value is not None for text in (option, str(value))]
    words += ["--exact"] if request.exact else []
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
