"""The sentences of a search: parsed once before the first result, and split into batches."""

import itertools
from collections.abc import Sequence

from noduleclip.errors import UsageError
from noduleclip.language.query import ParsedQuery, parse_query
from noduleclip.workflows.search_request import SearchRequest

_BATCH_SENTENCES = 128  # the tables of hits take 300 kB a sentence
_BATCH_HITS = 1 << 17
_LONGEST_QUOTE = 80


def parse_sentences(request: SearchRequest) -> list[ParsedQuery]:
    """Parse the sentences of a request.

    Raises:
        UsageError: One cannot be parsed, or nothing of it was understood and the request takes no free text.
    """
    return [_parse(sentence, is_free=request.free_text) for sentence in request.sentences]


def _parse(sentence: str, *, is_free: bool) -> ParsedQuery:
    parsed = parse_query(sentence)
    if parsed.not_understood and not parsed.has_criteria and not is_free:
        quoted = sentence if len(sentence) <= _LONGEST_QUOTE else f"{sentence[:_LONGEST_QUOTE]} …"
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
