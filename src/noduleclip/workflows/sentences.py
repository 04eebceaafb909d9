"""The sentences of a search: parsed once before the first result, and split into batches."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import UsageError
from noduleclip.language.query import ParsedQuery, describe_query, parse_query
from noduleclip.workflows.search_request import SearchRequest
from noduleclip.workflows.similar import Reference

_BATCH_SENTENCES = 128  # the tables of hits take 300 kB a sentence
_BATCH_HITS = 1 << 17
_LONGEST_QUOTE = 80


def parse_sentences(request: SearchRequest) -> list[ParsedQuery]:
    """Parse the sentences of a request.

    Raises:
        UsageError: One cannot be parsed, nothing of it was understood and the request takes no free text, or it asks
            for neither a size nor a rating and the request has a least probability.
    """
    return [_parse(sentence, request) for sentence in request.sentences]


def _parse(sentence: str, request: SearchRequest) -> ParsedQuery:
    parsed = parse_query(sentence)
    if parsed.has_criteria:
        return parsed
    quoted = sentence if len(sentence) <= _LONGEST_QUOTE else f"{sentence[:_LONGEST_QUOTE]} …"
    if request.min_probability is not None:
        raise UsageError(f"{quoted!r}: --min-probability needs a size or a rating; of other words none is known")
    if parsed.not_understood and not request.free_text:
        raise UsageError(
            f"{quoted!r}: {'; '.join(parsed.notes)}; ask for a size or a rating, such as 'a spiculated nodule > 6 mm', "
            "or rank by the words as they are with --free-text"
        )
    return parsed


def split_sentences(sentences: Sequence[str], k: int) -> list[Sequence[str]]:
    """Split sentences into batches whose hits fit into memory; no sentences are one batch, too.

    A lone sentence is never left over: the text encoder rounds a batch of one differently.
    """
    size = min(_BATCH_SENTENCES, max(2, _BATCH_HITS // k))
    count = max(1, len(sentences) // size)
    ends = [len(sentences) * batch // count for batch in range(count + 1)]
    return [sentences[start:end] for start, end in itertools.pairwise(ends)]


@dataclass(frozen=True)
class Batch:
    """Sentences that are answered together; none where only a reference is given.

    Attributes:
        sentences: Q sentences.
        parsed_queries: Their parsed form; a query without criteria for a reference alone.
        reference: The nodule that the hits are to resemble.
        vectors: (Q, D) unit vectors to rank by; None where kept cosines make them unnecessary.
    """

    sentences: Sequence[str]
    parsed_queries: Sequence[ParsedQuery]
    reference: Reference | None
    vectors: NDArray[np.float32] | None

    def describe(self) -> list[str]:
        """Return in one line how each question was understood."""
        similar = [] if self.reference is None else [f"similar to {self.reference.description}"]
        return [
            "; ".join([*([describe_query(parsed)] if self.sentences else []), *similar])
            for parsed in self.parsed_queries
        ]

    def name(self) -> list[str]:
        """Return what each question asks."""
        if self.reference is None:
            return list(self.sentences)
        name = self.reference.name
        return [f"{sentence}, like {name}" for sentence in self.sentences] or [f"like {name}"]
