"""The query language: what a sentence asks of a nodule's size and ratings, and the prompts to train with.

`query` parses a sentence. The size grammar (`size`, `size_spellings`, `size_tokens`, `size_grammar`, `size_phrase`,
`size_meaning`, `size_statements`, with the tables in `size_words`) yields a `SizeInterval`; `rating_phrases` parses
the words that are left into `RatingRange`s. `vocabulary` turns sentences into tokens for the text encoder.
"""

from noduleclip.language.rating_phrases import describe_ratings, parse_ratings
from noduleclip.language.rating_prompts import RATING_QUERIES, sample_rating_words
from noduleclip.language.rating_scale import ATTRIBUTES, LARGEST_RATING, NOMINAL, RatingRange, last_rating, spell_range
from noduleclip.language.size import ParsedSize, parse_interval, parse_intervals, parse_size
from noduleclip.language.size_interval import MAX_DIAMETER_MM, SizeInterval, describe_interval, spell_interval
from noduleclip.language.size_meaning import EXACT_TOLERANCE_MM
from noduleclip.language.size_prompts import (
    BIN_PROMPTS,
    BIN_SYNONYMS,
    CURATED_PROMPTS,
    EVALUATION_QUERIES,
    Prompt,
    sample_prompts,
)
from noduleclip.language.size_tokens import MAX_SENTENCE_CHARS

__all__ = [
    "ATTRIBUTES",
    "BIN_PROMPTS",
    "BIN_SYNONYMS",
    "CURATED_PROMPTS",
    "EVALUATION_QUERIES",
    "EXACT_TOLERANCE_MM",
    "LARGEST_RATING",
    "MAX_DIAMETER_MM",
    "MAX_SENTENCE_CHARS",
    "NOMINAL",
    "RATING_QUERIES",
    "ParsedSize",
    "Prompt",
    "RatingRange",
    "SizeInterval",
    "describe_interval",
    "describe_ratings",
    "last_rating",
    "parse_interval",
    "parse_intervals",
    "parse_ratings",
    "parse_size",
    "sample_prompts",
    "sample_rating_words",
    "spell_interval",
    "spell_range",
]
