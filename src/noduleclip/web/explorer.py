"""An opened index that answers again and again: what one answer needs of another is kept, in bounded memory."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.folder import Index
from noduleclip.io.index.rows import apply_condition, find_groups
from noduleclip.io.patients import fold_id
from noduleclip.io.text_table import format_csv
from noduleclip.language.query import Reading, describe_reading, list_attributes, read_sentence
from noduleclip.retrieval.fusion import fuse_scores, score_reading
from noduleclip.retrieval.hits import describe_hits, satisfies_all
from noduleclip.retrieval.plane import project_to_plane
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.retrieval.top_k import compute_cosines, refuse_odd_rows, select_top_k
from noduleclip.web.questions import Filters, Question

HISTOGRAM_MM = 40  # bins of 1 mm, and one for all above
_KEPT = 4  # sentences, filters and groupings
_MOST_POINTS = 20_000
_SHOWN = (schema.PATIENT_ID, schema.NODULE_ID, schema.READER)

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """The best rows for a sentence.

    Attributes:
        reading: How it was read.
        rows: (k,) rows, best first.
        scores: Their scores by column, (k,) each; NaN where there is none.
        ranked: Rows that the filters left.
        inside: Rows of those whose diameter lies in the interval; None without one.
        notes: What whoever asked should know.
    """

    reading: Reading
    rows: Rows
    scores: dict[str, NDArray[np.floating]]
    ranked: int
    inside: int | None
    notes: tuple[str, ...]


class Explorer:
    """Answers questions about one index.

    Attributes:
        index: The index.
        rows: N.
        diameters_mm: (N,) diameters, NaN where none was measured.
    """

    def __init__(self, index: Index, encoder: SentenceEncoder) -> None:
        self.index, self.rows = index, index.manifest.rows
        self._encoder = encoder
        self._held = index.scan().collect_schema().names()
        self._shown = index.read_columns([name for name in _SHOWN if name in self._held])
        self.diameters_mm: Floats = self._read_numbers(schema.DIAMETER_MM)
        self._cosines = functools.lru_cache(_KEPT)(self._compute_cosines)
        self._column = functools.lru_cache(_KEPT)(self._read_numbers)
        self._groups = functools.lru_cache(_KEPT)(lambda unique: find_groups(index, unique or None, None))
        self._allowed = functools.lru_cache(_KEPT)(self._filter_rows)

    def answer(self, question: Question) -> Answer:
        """Rank the rows that the filters leave, as `fuse` does.

        Raises:
            UsageError: The sentence or the condition cannot be read.
            ArtefactError: The index is broken.
        """
        reading = read_sentence(question.sentence)
        rows = self._allowed(question.filters) if question.filters else None
        cosines = self._cosines(question.sentence)
        groups = self._groups(question.unique)
        if rows is not None:
            cosines, groups = cosines[rows], None if groups is None else groups[rows]
        probability = self._encoder.calibration.to_probability(cosines)
        rule = self._score_rules(reading, rows, question.softness_mm)
        score = fuse_scores(probability, rule, question.alpha)
        chosen = select_top_k(score, question.topk, groups).rows
        found = chosen if rows is None else rows[chosen]
        refuse_odd_rows(self.index.embeddings, found)
        columns: dict[str, NDArray[np.floating]] = {
            schema.SIMILARITY: cosines,
            schema.COSINE: probability,
            schema.RULE: rule,
            schema.SCORE: score,
        }
        return Answer(
            reading,
            found,
            {name: values[chosen] for name, values in columns.items()},
            len(cosines),
            self._count_inside(reading, rows),
            self._list_notes(reading, rule),
        )

    def describe(self, answer: Answer) -> list[dict[str, Any]]:
        """Give what a list of hits shows of each."""
        found = self._describe_rows(answer.rows, list_attributes([answer.reading]))
        for place, hit in enumerate(found):
            hit[schema.SATISFIES] = satisfies_all(answer.reading, hit)
            hit |= {name: _to_number(values[place]) for name, values in answer.scores.items()}
        return found

    def list_hits(self, question: Question) -> tuple[Answer, pl.DataFrame]:
        """Give the hits with all that the index says of them, as `fuse` has them."""
        answer = self.answer(question)
        table = self.index.read_rows(answer.rows)
        return answer, describe_hits(table, answer.scores, question.sentence, answer.reading)

    def write_csv(self, question: Question) -> str:
        """Give the hits as `fuse --out` writes them."""
        return format_csv(self.list_hits(question)[1])

    def find_neighbours(self, row: int, count: int, unique: str) -> list[dict[str, Any]]:
        """Find the rows whose embeddings are most similar to that of a row, which is not among them."""
        cosines = compute_cosines(self.index.embeddings[np.array([row])][0], self.index.embeddings)
        groups = self._groups(unique)
        others = np.flatnonzero(np.arange(self.rows) != row if groups is None else groups != groups[row])
        chosen = select_top_k(cosines[others], count, None if groups is None else groups[others])
        found = self._describe_rows(others[chosen.rows])
        for hit, similarity in zip(found, chosen.scores.tolist(), strict=True):
            hit[schema.SIMILARITY] = similarity
        return found

    def describe_row(self, row: int) -> dict[str, Any]:
        """Give all that the index says of a row."""
        return self.index.read_rows([row]).row(0, named=True)

    def count_diameters(self) -> list[int]:
        """Count rows by diameter, in bins of 1 mm from 0 and in one for all from 40 mm."""
        known = self.diameters_mm[np.isfinite(self.diameters_mm)]
        bins: list[int] = np.bincount(np.clip(known, 0, HISTOGRAM_MM).astype(int), minlength=HISTOGRAM_MM + 1).tolist()
        return bins

    @functools.cached_property
    def plane(self) -> tuple[Rows, NDArray[np.float32]]:
        """Rows (M,), at most 20,000 spread over the index, and (M, 3): their place on the map and their diameter."""
        rows = np.unique(np.linspace(0, self.rows - 1, min(self.rows, _MOST_POINTS)).astype(np.int64))
        points = project_to_plane(self.index.embeddings, rows)
        return rows, np.column_stack([points, self.diameters_mm[rows]]).astype(np.float32)

    def _describe_rows(self, rows: Rows, attributes: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        found: pl.DataFrame = self._shown[rows.tolist()].with_columns(
            pl.Series(schema.ROW, rows),
            pl.Series(schema.DIAMETER_MM, self.diameters_mm[rows]).fill_nan(None),
            *(pl.Series(name, self._column(name)[rows]).fill_nan(None) for name in attributes),
        )
        return found.to_dicts()

    def _compute_cosines(self, sentence: str) -> NDArray[np.float32]:
        return compute_cosines(self._encoder.encode([sentence])[0], self.index.embeddings)

    def _read_numbers(self, name: str) -> Floats:
        if name not in self._held:
            return np.full(self.rows, np.nan)
        return self.index.read_columns([name])[name].cast(pl.Float64).to_numpy()

    def _filter_rows(self, filters: Filters) -> Rows:
        kept = np.ones(self.rows, bool)
        if filters.patients:
            wanted = {fold_id(patient) for patient in filters.patients}
            ids = self._shown[schema.PATIENT_ID]
            kept &= ids.is_in([one for one in ids.unique() if one is not None and fold_id(one) in wanted]).to_numpy()
        if filters.low_mm is not None:
            kept &= self.diameters_mm >= filters.low_mm
        if filters.high_mm is not None:
            kept &= self.diameters_mm <= filters.high_mm
        if filters.where:
            met = apply_condition(filters.where, self.index)
            kept &= met.fill_null(value=False).to_numpy()
        return np.flatnonzero(kept)

    def _score_rules(self, reading: Reading, rows: Rows | None, softness_mm: float) -> Floats:
        def read(name: str) -> Floats:
            values = self.diameters_mm if name == schema.DIAMETER_MM else self._column(name)
            return values if rows is None else values[rows]

        if not reading.asks:
            return np.full(self.rows if rows is None else len(rows), np.nan)
        return score_reading(reading, read, softness_mm)

    def _count_inside(self, reading: Reading, rows: Rows | None) -> int | None:
        if reading.interval is None:
            return None
        sizes = self.diameters_mm if rows is None else self.diameters_mm[rows]
        return int(reading.interval.contains_each(sizes).sum())

    def _list_notes(self, reading: Reading, rule: Floats) -> tuple[str, ...]:
        notes = []
        unknown = [name for name in list_attributes([reading]) if name not in self._encoder.attributes]
        if unknown:
            notes.append(
                f"The model was not trained on ratings of {', '.join(unknown)}: the image says nothing of them."
            )
        if not reading.asks:
            notes.append("No size and no rating: the measurements have no say, the image alone ranks.")
        elif unmeasured := int(np.isnan(rule).sum()):
            notes.append(f"{unmeasured:,} row(s) have none of what is asked for measured: the image alone ranks them.")
        if not len(rule):
            notes.append("No row passes the filters.")
        return tuple(notes)


def describe_answer(answer: Answer) -> Mapping[str, Any]:
    """Give what is said of an answer as a whole."""
    interval = answer.reading.interval
    bounds = interval and {"low_mm": interval.low_mm, "high_mm": _to_number(interval.high_mm), "text": str(interval)}
    return {
        "reading": describe_reading(answer.reading),
        "interval": bounds,
        "ranked": answer.ranked,
        "inside": answer.inside,
        "notes": answer.notes,
    }


def _to_number(value: float | np.floating) -> float | None:
    """Give a number as JSON may have it: None for what is not finite."""
    return float(value) if np.isfinite(value) else None
