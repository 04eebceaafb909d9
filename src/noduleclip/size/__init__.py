"""What a sentence says of a nodule's size: sentence <-> `SizeInterval`, and the prompts to train with.

A sentence becomes tokens (`tokens`), tokens become phrases (`grammar`, with the tables in `words`), a phrase
becomes an interval (`meaning`), and the intervals of one sentence meet (`statements`, `sentence`). Knows
nothing of images or models.
"""

from noduleclip.size.interval import MAX_DIAMETER_MM, SizeInterval, describe_interval
from noduleclip.size.meaning import EXACT_TOLERANCE_MM
from noduleclip.size.prompts import (
    BIN_PROMPTS,
    BIN_SYNONYMS,
    CURATED_PROMPTS,
    EVALUATION_QUERIES,
    Prompt,
    sample_prompts,
)
from noduleclip.size.sentence import SizeReading, parse_interval, parse_intervals, read_size
from noduleclip.size.tokens import MAX_SENTENCE_CHARS

__all__ = [
    "BIN_PROMPTS",
    "BIN_SYNONYMS",
    "CURATED_PROMPTS",
    "EVALUATION_QUERIES",
    "EXACT_TOLERANCE_MM",
    "MAX_DIAMETER_MM",
    "MAX_SENTENCE_CHARS",
    "Prompt",
    "SizeInterval",
    "SizeReading",
    "describe_interval",
    "parse_interval",
    "parse_intervals",
    "read_size",
    "sample_prompts",
]
