"""Training sentences: sizes in varied words and, where the table has ratings, rated attributes."""

import functools
import random
from collections.abc import Sequence

from noduleclip.errors import RatingLanguageError
from noduleclip.language import (
    BIN_PROMPTS,
    CURATED_PROMPTS,
    EVALUATION_QUERIES,
    RATING_QUERIES,
    sample_prompts,
    sample_rating_words,
)
from noduleclip.language.query import ParsedQuery, parse_query
from noduleclip.language.rating_scale import RatingRange, last_rating
from noduleclip.language.size_interval import make_threshold
from noduleclip.language.vocabulary import Vocabulary

_VOCABULARY_PROMPTS = 4000
_PRIOR_PROMPTS = 400

_CONTEXTS = ("a lung nodule", "a nodule", "a pulmonary nodule", "lung nodules", "a nodule in the lung", "a lesion")


def sample_sentences(sized: int, rated: int, attributes: Sequence[str], rng: random.Random) -> list[ParsedQuery]:
    """Draw and parse the sentences of an optimiser step.

    Args:
        sized: Number of sentences that ask for a size only; they come first.
        rated: Number of sentences that ask for ratings, half of them for a size as well.
        attributes: Rated attributes to ask for; if empty, no such sentences are drawn.
        rng: Source of randomness.
    """
    parsed_queries = [parse_query(prompt.text) for prompt in sample_prompts(sized, rng)]
    if attributes:
        parsed_queries += [parse_query(sample_rated_sentence(attributes, rng)) for _ in range(rated)]
    return parsed_queries


def sample_rated_sentence(attributes: Sequence[str], rng: random.Random) -> str:
    """Draw a sentence about one rated attribute or, one time in four, two; half of them with a size."""
    with_size = rng.random() < 0.5
    text = sample_prompts(1, rng)[0].text if with_size else _CONTEXTS[int(rng.random() * len(_CONTEXTS))]
    sentence = _insert_phrase(text, sample_rating_words(attributes, rng))
    if rng.random() < 0.25:
        both = _insert_phrase(sentence, sample_rating_words(attributes, rng))
        try:
            parse_query(both)
        except RatingLanguageError:  # "a solid ground-glass nodule"
            return sentence
        return both
    return sentence


def _insert_phrase(text: str, phrase: str) -> str:
    """Insert a phrase before the noun of a sentence, or append it to the sentence."""
    for noun in ("lung nodule", "pulmonary nodule", "nodule", "lesion"):
        if noun in text:
            return text.replace(noun, f"{phrase} {noun}", 1)
    return f"{text}, {phrase}"


def list_size_sentences() -> list[ParsedQuery]:
    """Return a sentence in each context for every threshold of 1 to 60 mm in steps of 0.25 mm, above and up to it."""
    thresholds = [make_threshold(operator, quarter / 4) for operator in (">", "<=") for quarter in range(4, 241)]
    return [
        ParsedQuery(interval, (), words)
        for words in (parse_query(context).words for context in _CONTEXTS)
        for interval in thresholds
    ]


def list_rating_sentences(attributes: Sequence[str]) -> list[ParsedQuery]:
    """Return a sentence in each context for every range of every rated attribute that excludes some rating."""
    ranges = [
        RatingRange(name, low, high)
        for name in attributes
        for low in range(1, last_rating(name) + 1)
        for high in range(low, last_rating(name) + 1)
        if high - low < last_rating(name) - 1
    ]
    return [
        ParsedQuery(None, (asked,), words)
        for words in (parse_query(context).words for context in _CONTEXTS)
        for asked in ranges
    ]


@functools.cache  # it parses thousands of sentences, which takes seconds
def make_vocabulary(attributes: tuple[str, ...] = ()) -> Vocabulary:
    """Collect the words of every kind of training sentence; the same attributes give the same vocabulary."""
    rng = random.Random(0)
    texts = [prompt.text for prompt in sample_prompts(_VOCABULARY_PROMPTS, rng)]
    if attributes:
        texts += [*RATING_QUERIES, *(sample_rated_sentence(attributes, rng) for _ in range(_VOCABULARY_PROMPTS))]
    return Vocabulary.from_sentences([*CURATED_PROMPTS, *BIN_PROMPTS, *EVALUATION_QUERIES, *texts], attributes)


def sample_size_sentences() -> list[ParsedQuery]:
    """Return a fixed sample of sentences about size, on which the share of true pairs is measured."""
    return sample_sentences(_PRIOR_PROMPTS, 0, (), random.Random(1))
