"""Search of an index: sentences or a nodule, filters and fusion in, ranked rows out.

`query`, `fuse`, the explorer and the Python API search here.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.index.base import Index
from noduleclip.io.index.rows import UNIQUE_NODULE
from noduleclip.language.query import ParsedQuery, list_attributes, parse_queries
from noduleclip.retrieval.fusion import fuse_scores, mix_likeness
from noduleclip.retrieval.hits import describe_hits, list_columns
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.retrieval.top_k import TopK, check_unit_norm, compute_cosines, find_top_k, select_top_k
from noduleclip.workflows.approximate import approximate_search
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.row_finder import RowFinder
from noduleclip.workflows.rule_scores import score_rule
from noduleclip.workflows.search_answer import Answer, Ranking
from noduleclip.workflows.search_request import RowFilter, SearchRequest
from noduleclip.workflows.selection import Found, Rows, Scores, name_ranked, select_best, summarize, take_similarity
from noduleclip.workflows.sentences import Batch, parse_sentences, split_sentences
from noduleclip.workflows.similar import Reference, exclude_own_rows, find_reference
from noduleclip.workflows.text_encoder import open_text_encoder


class Searcher:
    """An opened index that answers again and again.

    Attributes:
        index: The index.
        rows: Finds the rows of a filter, groups, and columns of numbers.
    """

    def __init__(
        self, index: Index, *, kept: int = 0, model: Path | None = None, cache_dir: Path | None = None
    ) -> None:
        """Prepare to search.

        Args:
            index: The index.
            kept: How many sentences, filters and columns are kept in memory for later requests.
            model: Checkpoint that made the embeddings, for a nodule outside the index; None = one of the package's.
            cache_dir: Folder of the exported model; None = the user's cache.
        """
        self.index, self._kept, self._model, self._cache_dir = index, kept, model, cache_dir
        self.rows = RowFinder(index, kept)
        self._compare_all = functools.lru_cache(kept)(
            lambda sentence: compute_cosines(self.encoder.encode([sentence])[0], index.embeddings)
        )

    @functools.cached_property
    def encoder(self) -> SentenceEncoder:
        """The text encoder, opened when it is first needed.

        Raises:
            ArtefactError: It is broken or belongs to another model.
        """
        return open_text_encoder(self.index)

    def search(self, request: SearchRequest, reporter: Reporter = SILENT) -> Iterator[list[Answer]]:
        """Rank rows, and read the metadata of the best ones.

        Args:
            request: What to search for.
            reporter: Receives notes, before the answers that they are about.

        Yields:
            Answers in the order of the sentences, in batches that fit into memory; one answer for a reference alone.

        Raises:
            UsageError: A sentence or the condition cannot be parsed, nothing of a sentence was understood, or there is
                no nodule such as `like` names.
            InputError: No row is left to rank.
            ArtefactError: The index is broken.
        """
        for rankings in self.rank(request, reporter):
            answers = self.read_hits(rankings)
            for answer in answers:
                _note_unknown_ratings(answer, reporter)
            yield answers

    def rank(self, request: SearchRequest, reporter: Reporter = SILENT) -> Iterator[list[Ranking]]:
        """Rank the rows that pass the filters; see `search`."""
        reference = self._find_reference(request, reporter)
        if request.sentences:
            self._check_attributes(parse_sentences(request), reporter)  # all: an error comes before the first result
        candidates: _Candidates | None = None
        rows = self.index.manifest.rows
        for number, sentences in enumerate(split_sentences(request.sentences, min(request.k or rows, rows))):
            self.index.check_unchanged()  # before the mapped embeddings are read: a shorter file ends the process
            parsed_queries = parse_queries(sentences) or [ParsedQuery(None, (), ())]
            batch = Batch(sentences, parsed_queries, reference, self._make_vectors(sentences, reference))
            found: Iterable[Found] | None
            found = self._approximate(batch, request, reporter if number == 0 else SILENT)
            if found is None:
                if candidates is None:
                    candidates = self._find_candidates(request, reference, reporter)
                found = self._rank(batch, request, candidates, reporter)
            found = list(found)
            self.index.check_unchanged()
            if number == 0 and candidates is not None and candidates.distinct < (request.k or 0):
                what = name_ranked(request.unique, self.index.manifest.is_of_nodules)
                reporter.note(f"fewer than {request.k} hits: there are {candidates.distinct} {what} to rank")
            ranked, distinct = (None, None) if candidates is None else (candidates.count, candidates.distinct)
            rankings = []
            for question, description, parsed, best in zip(
                batch.name(), batch.describe(), parsed_queries, found, strict=True
            ):
                check_unit_norm(self.index.embeddings, best.rows)
                summary = summarize(best, distinct, request, self.index.manifest.is_of_nodules)
                scores = self._complete_scores(best.scores, parsed, is_likeness=not sentences)
                counts = (ranked, distinct, summary, best.passed)
                rankings.append(Ranking(question, description, parsed, reference, best.rows, scores, *counts))
            yield rankings

    def read_hits(self, rankings: Sequence[Ranking]) -> list[Answer]:
        """Read the metadata of ranked rows."""
        columns = list_columns(self.index.scan().collect_schema().names())
        found = self.index.read_rows(np.concatenate([ranking.rows for ranking in rankings]), columns)
        self.index.check_unchanged()
        ends = np.cumsum([len(ranking.rows) for ranking in rankings]).tolist()
        return [
            Answer(
                ranking,
                describe_hits(found[end - len(ranking.rows) : end], ranking.scores, ranking.question, ranking.parsed),
            )
            for ranking, end in zip(rankings, ends, strict=True)
        ]

    def find_neighbours(self, row: int, k: int, unique: str | None) -> TopK:
        """Find the rows most similar to a row, without the row itself or, with `unique`, its whole group."""
        cosines = compute_cosines(self.index.embeddings[np.array([row])][0], self.index.embeddings)
        groups = self._find_groups(unique, SILENT)
        others = np.flatnonzero(np.arange(len(cosines)) != row if groups is None else groups != groups[row])
        best = select_top_k(cosines[others], k, None if groups is None else groups[others])
        return TopK(others[best.rows], best.scores)

    def _complete_scores(self, scores: Scores, parsed: ParsedQuery, *, is_likeness: bool) -> Scores:
        """Add the probability to the scores of the hits, or the likeness where no sentence was given.

        The calibration is of sentences about sizes and ratings: others have no probability.
        """
        similarity = scores[schema.SIMILARITY]
        if not parsed.has_criteria:
            unknown = {schema.PROBABILITY: np.full(len(similarity), np.nan)}
            return {**unknown, **scores, **({schema.LIKENESS: similarity} if is_likeness else {})}
        return {schema.PROBABILITY: self.encoder.calibration.to_probability(similarity), **scores}

    def _find_reference(self, request: SearchRequest, reporter: Reporter) -> Reference | None:
        if request.like is None:
            return None
        return find_reference(self.index, request.like, model=self._model, cache_dir=self._cache_dir, reporter=reporter)

    def _make_vectors(self, sentences: Sequence[str], reference: Reference | None) -> NDArray[np.float32] | None:
        """Return the (Q, D) vectors to rank by; None where kept cosines make them unnecessary."""
        if not sentences:
            assert reference is not None  # a request has a sentence or a reference
            return reference.vector[None]
        return None if self._kept else self.encoder.encode(sentences)

    def _check_attributes(self, parsed_queries: Iterable[ParsedQuery], reporter: Reporter) -> None:
        """Note the ratings asked for that the model was not trained on."""
        unknown = [name for name in list_attributes(parsed_queries) if name not in self.encoder.attributes]
        if unknown:
            names = ", ".join(unknown)
            reporter.warning(f"the model was not trained on ratings of {names}: the image says nothing of them here")

    def _approximate(self, batch: Batch, request: SearchRequest, reporter: Reporter) -> list[Found] | None:
        """Search by the vector index of a Lance store, where there is one and it can answer."""
        reference, filters = batch.reference, request.filters
        needs_all = request.exact or request.alpha is not None or request.unique is not None
        if batch.vectors is None or needs_all or request.k is None or request.min_probability is not None:
            return None
        if reference is not None and batch.sentences:
            return None
        if filters != RowFilter(where=filters.where):
            return None
        own_rows = np.empty(0, np.int64) if reference is None else reference.own_rows
        found = approximate_search(
            self.index, batch.vectors, request.k, where=filters.where, excluded=own_rows, reporter=reporter
        )
        return None if found is None else [take_similarity(best) for best in found]

    def _find_candidates(
        self, request: SearchRequest, reference: Reference | None, reporter: Reporter
    ) -> "_Candidates":
        rows = self.rows.find_rows(request.filters, reporter)
        if rows is not None and len(rows) == 0:
            raise InputError(f"no row of {self.index.location} passes --where and --patients-file")
        if reference is not None:
            rows = exclude_own_rows(reference, rows, self.index)
        groups = self._find_groups(request.unique, reporter)
        if groups is not None and rows is not None:
            groups = groups[rows]
        count = self.index.manifest.rows if rows is None else len(rows)
        return _Candidates(rows, groups, count, count if groups is None else len(np.unique(groups)))

    def _find_groups(self, unique: str | None, reporter: Reporter) -> Rows | None:
        """Return the groups of the rows; of an index of nodules every row is a nodule of its own."""
        if unique != UNIQUE_NODULE or not self.index.manifest.is_of_nodules:
            return self.rows.find_groups(unique)
        reporter.note(f"a row of {self.index.location} is a nodule: --unique {UNIQUE_NODULE} has no effect")
        return None

    def _rank(
        self, batch: Batch, request: SearchRequest, candidates: "_Candidates", reporter: Reporter
    ) -> Iterator[Found]:
        """Rank the candidates for each sentence; all scores are kept only where more than the best ones is needed."""
        rows, groups, vectors, reference = candidates.rows, candidates.groups, batch.vectors, batch.reference
        likeness = None
        if batch.sentences and reference is not None:
            likeness = compute_cosines(reference.vector, self.index.embeddings, rows)
        needs_all = request.alpha is not None or request.k is None or request.min_probability is not None
        if vectors is not None and request.k is not None and not needs_all and groups is None and likeness is None:
            yield from map(take_similarity, find_top_k(vectors, self.index.embeddings, request.k, rows))
            return
        for number, parsed in enumerate(batch.parsed_queries):
            if vectors is None:
                similarity = self._compare_all(batch.sentences[number])
                similarity = similarity if rows is None else similarity[rows]
            else:
                similarity = compute_cosines(vectors[number], self.index.embeddings, rows)
            scores: Scores = {schema.SIMILARITY: similarity}
            if request.min_probability is not None:
                scores[schema.PROBABILITY] = self.encoder.calibration.to_probability(similarity)
            if likeness is not None or request.alpha is not None:
                scores |= self._mix(similarity, likeness, parsed, rows, request, reporter)
            yield select_best(scores, request, rows, groups)

    def _mix(
        self,
        similarity: NDArray[np.floating],
        likeness: NDArray[np.float32] | None,
        parsed: ParsedQuery,
        rows: Rows | None,
        request: SearchRequest,
        reporter: Reporter,
    ) -> Scores:
        """Mix the probability that the sentence is true with the likeness, or with the rule."""
        probability = self.encoder.calibration.to_probability(similarity)
        if request.alpha is None:
            assert likeness is not None
            score = mix_likeness(probability, likeness, request.like_weight)
            return {schema.COSINE: probability, schema.LIKENESS: likeness, schema.SCORE: score}
        rule = score_rule(self.index, self.rows, parsed, rows, request, reporter)
        score = fuse_scores(probability, rule, request.alpha)
        return {schema.COSINE: probability, schema.RULE: rule, schema.SCORE: score}


@dataclass(frozen=True)
class _Candidates:
    """The rows to rank, ascending, and the numbers of their groups; None = all rows, no groups."""

    rows: Rows | None
    groups: Rows | None
    count: int
    distinct: int


def _note_unknown_ratings(answer: Answer, reporter: Reporter) -> None:
    """Note ratings asked for that no hit has, so that none can satisfy the sentence."""
    attributes, hits = list_attributes([answer.ranking.parsed]), answer.hits
    unknown = [name for name in attributes if name not in hits.columns or hits[name].null_count() == hits.height]
    if unknown and hits.height:
        names = " or ".join(unknown)
        reporter.note(f"no hit has a rating of {names}: whether it satisfies the sentence is not known")
