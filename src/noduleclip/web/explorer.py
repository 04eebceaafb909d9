"""The data of the explorer's page: hits, neighbours, the histogram of sizes, and the map."""

import functools
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.index.base import Index
from noduleclip.io.text_table import format_csv
from noduleclip.language.query import ParsedQuery, describe_query, list_attributes, parse_query
from noduleclip.report.estimates import (
    compare_readers,
    format_counts,
    format_estimates,
    format_reader_sizes,
    format_size,
)
from noduleclip.retrieval.criteria import check_criteria, satisfies_all
from noduleclip.retrieval.plane import project_to_plane
from noduleclip.web.wording import use_page_words
from noduleclip.workflows.reporter import NoteCollector
from noduleclip.workflows.search import Searcher
from noduleclip.workflows.search_answer import Answer, Ranking
from noduleclip.workflows.search_request import SearchRequest
from noduleclip.workflows.sentences import parse_sentences

HISTOGRAM_MM = 40  # bins of 1 mm, and one for all above
_KEPT = 4  # sentences, filters and groupings
_MOST_POINTS = 20_000
_SHOWN = (
    schema.PATIENT_ID, schema.NODULE_ID, schema.READER, schema.READERS, schema.SLICES, schema.ESTIMATED_DIAMETER,
)  # fmt: skip
_SCORES = (schema.PROBABILITY, schema.RULE, schema.SCORE, schema.LIKENESS)
_ESTIMATES = (schema.ESTIMATED_PREFIX, schema.PROBABILITY_PREFIX)

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Explorer:
    """Answers requests about one index.

    Attributes:
        index: The index.
        rows: N.
        diameters_mm: (N,) diameters, NaN where none was measured.
        estimates_mm: (N,) the model's estimates of them, NaN in an index without.
        sizes_mm: (N,) diameters, estimated where none was measured.
    """

    def __init__(self, index: Index) -> None:
        self.index, self.rows = index, index.manifest.rows
        self._searcher = Searcher(index, kept=_KEPT)
        _ = self._searcher.encoder  # a broken one is reported before the first request
        held = index.scan().collect_schema().names()
        self._shown = index.read_columns([name for name in _SHOWN if name in held])
        self.diameters_mm: Floats = self._searcher.rows.read_numbers(schema.DIAMETER_MM)
        self.estimates_mm: Floats = self._searcher.rows.read_numbers(schema.ESTIMATED_DIAMETER)
        self.sizes_mm: Floats = np.where(np.isnan(self.diameters_mm), self.estimates_mm, self.diameters_mm)

    def answer(self, request: SearchRequest, start: int = 0) -> dict[str, Any]:
        """Rank the rows that pass the filters, as `fuse` does.

        Args:
            request: The search.
            start: Hits that are left out at the front, so that `k` begin there.

        Returns:
            What the page shows, for JSON: the query as understood, its interval, how many rows were ranked, how many of
            them lie in the interval by their diameter and how many by its estimate alone, notes, the hits, whether
            there are more, and how many hits there are in all.

        Raises:
            UsageError: The sentence or the condition cannot be parsed, or nothing of the sentence was understood.
            ArtefactError: The index is broken.
        """
        assert request.k is not None  # the parser of addresses always sets it
        ranking, notes = self._rank(replace(request, k=start + request.k))
        interval = ranking.parsed.interval
        bounds = interval and {
            "low_mm": interval.low_mm,
            "high_mm": _to_number(interval.high_mm),
            "text": str(interval),
        }
        found = (ranking.distinct if ranking.passed is None else ranking.passed) or 0
        return {
            "reading": ranking.description,
            "summary": ranking.summary,
            "suggestions": ranking.parsed.suggestions,
            "interval": bounds,
            "ranked": ranking.ranked or 0,
            "inside": self._count_inside(ranking.parsed, request, self.diameters_mm),
            "inside_estimated": self._count_inside(ranking.parsed, request, self._estimated_mm),
            "notes": tuple(f"{note[0].upper()}{note[1:]}." for note in map(use_page_words, notes)),
            "found": found,
            "hits": self._describe_hits(ranking, start),
        }

    def explain_refusal(self, sentence: str) -> dict[str, Any]:
        """Return the words of a sentence of which nothing was understood, and what they may be meant for, for JSON.

        Returns:
            Nothing for a sentence that is refused for another reason.
        """
        try:
            parsed = parse_query(sentence)
        except UsageError:
            return {}
        if parsed.has_criteria or not parsed.not_understood:
            return {}
        return {"not_understood": parsed.not_understood, "suggestions": parsed.suggestions}

    def find_hits(self, request: SearchRequest) -> Answer:
        """Return the hits with all their metadata, as `fuse` has them."""
        (answer,) = self._searcher.read_hits([self._rank(request)[0]])
        return answer

    def write_csv(self, request: SearchRequest) -> str:
        """Return the hits as `fuse --out` writes them."""
        return format_csv(self.find_hits(request).hits)

    def _rank(self, request: SearchRequest) -> tuple[Ranking, list[str]]:
        """Rank, also where no row passes the filters."""
        collector = NoteCollector()
        rows = self._searcher.rows.find_rows(request.filters)
        if rows is None or len(rows):
            ((ranking,),) = self._searcher.rank(request, collector)
            return ranking, collector.notes
        (sentence,) = request.sentences
        (parsed,) = parse_sentences(request)
        empty = Ranking(sentence, describe_query(parsed), parsed, None, np.empty(0, np.int64), {}, 0, 0)
        return empty, ["no row passes the filters"]

    def _describe_hits(self, ranking: Ranking, start: int) -> list[dict[str, Any]]:
        """Return the fields of each hit in the list from a place on, from columns in memory."""
        found = self._describe_rows(ranking.rows[start:], list_attributes([ranking.parsed]))
        scores = {name: values[start:] for name, values in ranking.scores.items()}
        shown = _SCORES if ranking.parsed.has_criteria else (*_SCORES, schema.SIMILARITY)
        for place, hit in enumerate(found):
            hit[schema.RANK] = start + place + 1
            hit[schema.SATISFIES] = satisfies_all(ranking.parsed, hit)
            hit["criteria"] = [
                {**asdict(one.criterion), "value": one.value, "is_estimated": one.is_estimated,
                 "satisfied": one.satisfied}
                for one in check_criteria(ranking.parsed, hit)
            ]  # fmt: skip
            hit |= {name: _to_number(scores[name][place]) if name in scores else None for name in shown}
        return found

    def find_neighbours(self, row: int, count: int, unique: str | None) -> list[dict[str, Any]]:
        """Find the rows whose embeddings are most similar to that of a row, which is not among them."""
        chosen = self._searcher.find_neighbours(row, count, unique)
        found = self._describe_rows(chosen.rows)
        for hit, similarity in zip(found, chosen.scores.tolist(), strict=True):
            hit[schema.LIKENESS] = similarity
        return found

    def describe_nodule(self, row: int) -> dict[str, Any]:
        """Return the metadata of a row, its box, and what its readers and the model say of it, as text."""
        found = self.index.read_rows([row]).row(0, named=True)
        known = {name: value for name, value in found.items() if value is not None}
        estimates = [name for name in known if name.startswith(_ESTIMATES)]
        lists = [name for name, value in known.items() if isinstance(value, list)]  # shown reader by reader
        return {
            "metadata": {name: value for name, value in known.items() if name not in {*estimates, *lists}},
            "estimates": {name: known[name] for name in estimates},
            "size": format_size(found),
            "counts": format_counts(found),
            "reader_sizes": format_reader_sizes(found),
            "model": format_estimates(found),
            "comparison": [asdict(one) for one in compare_readers(found)],
            "box": [found.get(name) for name in schema.BOX_COLUMNS],
        }

    def count_sizes(self) -> dict[str, Any]:
        """Count rows by size, in bins of 1 mm from 0 and in one for all from 40 mm; and those measured and estimated.

        The size is the diameter, or its estimate where none was measured.
        """
        known = self.sizes_mm[np.isfinite(self.sizes_mm)]
        bins: list[int] = np.bincount(np.clip(known, 0, HISTOGRAM_MM).astype(int), minlength=HISTOGRAM_MM + 1).tolist()
        measured = int(np.isfinite(self.diameters_mm).sum())
        return {"bins": bins, "measured": measured, "estimated": len(known) - measured}

    @functools.cached_property
    def plane(self) -> tuple[Rows, NDArray[np.float32]]:
        """Rows (M,), at most 20,000 spread over the index, and (M, 4): place on the map, diameter, its estimate."""
        rows = np.unique(np.linspace(0, self.rows - 1, min(self.rows, _MOST_POINTS)).astype(np.int64))
        points = project_to_plane(self.index.embeddings, rows)
        sizes_mm = [self.diameters_mm[rows], self.estimates_mm[rows]]
        return rows, np.column_stack([points, *sizes_mm]).astype(np.float32)

    def _describe_rows(self, rows: Rows, attributes: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        found: pl.DataFrame = self._shown[rows.tolist()].with_columns(
            pl.Series(schema.ROW, rows),
            pl.Series(schema.DIAMETER_MM, self.diameters_mm[rows]).fill_nan(None),
            *(
                pl.Series(name, self._searcher.rows.read_numbers(name)[rows]).fill_nan(None)
                for attribute in attributes
                for name in (attribute, schema.ESTIMATED_PREFIX + attribute)
            ),
        )
        return [{**hit, "size": format_size(hit), "counts": format_counts(hit)} for hit in found.to_dicts()]

    @property
    def has_estimates(self) -> bool:
        """Whether the index holds what the model says of its rows."""
        return bool(np.isfinite(self.estimates_mm).any())

    @property
    def _estimated_mm(self) -> Floats:
        """(N,) estimates of the rows without a diameter, NaN for all others."""
        return np.where(np.isnan(self.diameters_mm), self.sizes_mm, np.nan)

    def _count_inside(self, parsed: ParsedQuery, request: SearchRequest, sizes_mm: Floats) -> int | None:
        if parsed.interval is None:
            return None
        rows = self._searcher.rows.find_rows(request.filters)
        return int(parsed.interval.contains_each(sizes_mm if rows is None else sizes_mm[rows]).sum())


def _to_number(value: float | np.floating) -> float | None:
    """Return a number as JSON may have it: None for what is not finite."""
    return float(value) if np.isfinite(value) else None
