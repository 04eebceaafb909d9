"""The rating queries that `evaluate` asks, and the sampler of rating phrases to train with."""

import random
from collections.abc import Sequence
from functools import cache

from noduleclip.language.rating_scale import NOMINAL, last_rating
from noduleclip.language.rating_words import PHRASES

RATING_QUERIES: tuple[str, ...] = (
    "a spiculated lung nodule",
    "a lobulated lung nodule",
    "a lung nodule with a smooth margin",
    "a lung nodule with a poorly defined margin",
    "a round lung nodule",
    "a ground-glass lung nodule",
    "a part-solid lung nodule",
    "a solid lung nodule",
    "a calcified lung nodule",
    "a highly suspicious lung nodule",
    "a benign lung nodule",
    "a subtle lung nodule",
    "a spiculated solid lung nodule larger than 10 mm",
    "a calcified lung nodule <= 6 mm",
)


def sample_rating_words(attributes: Sequence[str], rng: random.Random) -> str:
    """Draw a phrase about one rated attribute: three in five from the words there are, the others in numbers.

    Args:
        attributes: Attributes to speak of, at least one of `ATTRIBUTES`.
        rng: Source of randomness; only `rng.random()` is used, so a state gives the same on every platform.
    """
    attribute = _pick(attributes, rng)
    if rng.random() < 0.6 or attribute in NOMINAL:
        return _pick(_list_phrases(attribute, frozenset(attributes)), rng)
    last = last_rating(attribute)
    low = 1 + int(rng.random() * last)
    if rng.random() < 0.4 and low > 1:
        return f"{attribute} >= {low}"
    if rng.random() < 0.6 and low < last:
        return f"{attribute} <= {low}"
    high = low + int(rng.random() * (last + 1 - low))
    return f"{attribute} {low} to {high}" if high > low else f"{attribute} {low}"


@cache
def _list_phrases(attribute: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return the phrases about an attribute that ask for no attribute outside the known ones, as "smooth" may."""
    asked = {" ".join(phrase): {one.attribute for one in ranges} for phrase, ranges in PHRASES.items()}
    return tuple(phrase for phrase, names in asked.items() if attribute in names and names <= known)


def _pick(options: Sequence[str], rng: random.Random) -> str:
    return options[int(rng.random() * len(options))]
