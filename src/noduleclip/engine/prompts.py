"""The sentences of a training step: sizes in varied words, and where the table has ratings, what readers rated."""

import random
from collections.abc import Sequence

from noduleclip.errors import RatingLanguageError
from noduleclip.language import sample_prompts, sample_rating_words
from noduleclip.language.query import ParsedQuery, parse_query

_CONTEXTS = ("a lung nodule", "a nodule", "a pulmonary nodule", "lung nodules", "a nodule in the lung", "a lesion")


def sample_sentences(sized: int, rated: int, attributes: Sequence[str], rng: random.Random) -> list[ParsedQuery]:
    """Draw the sentences of a step, already read.

    Args:
        sized: Sentences that ask for a size alone; they come first.
        rated: Sentences that ask for ratings, half of them for a size too.
        attributes: Rated attributes to ask for; none = no such sentences.
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
    sentence = _say_too(text, sample_rating_words(attributes, rng))
    if rng.random() < 0.25:
        both = _say_too(sentence, sample_rating_words(attributes, rng))
        try:
            parse_query(both)
        except RatingLanguageError:  # "a solid ground-glass nodule"
            return sentence
        return both
    return sentence


def _say_too(text: str, phrase: str) -> str:
    """Put a phrase before the noun of a sentence, or behind the sentence."""
    for noun in ("lung nodule", "pulmonary nodule", "nodule", "lesion"):
        if noun in text:
            return text.replace(noun, f"{phrase} {noun}", 1)
    return f"{text}, {phrase}"
