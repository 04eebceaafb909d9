"""Sentences that the bundled model was trained and evaluated on keep their meaning."""

import csv
import random
from pathlib import Path

import pytest

from noduleclip import schema
from noduleclip.language import sample_rating_words
from noduleclip.language.query import parse_query
from noduleclip.language.vocabulary import Vocabulary

TABLE = Path(__file__).with_name("training_sentences.csv")
ROWS = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["sentence"])
def test_training_sentences_keep_their_meaning(row: dict[str, str]) -> None:
    parsed = parse_query(row["sentence"])
    assert str(parsed.interval or "") == row["interval"]
    assert ", ".join(map(str, parsed.ratings)) == row["ratings"]
    assert " ".join(parsed.words) == row["words"]


def test_the_vocabulary_of_training_sentences_keeps_its_words() -> None:
    words = sorted({word for row in ROWS for word in row["words"].split()})
    assert list(Vocabulary.from_sentences(row["sentence"] for row in ROWS).words) == words


def test_sentences_ask_only_for_ratings_that_the_table_has() -> None:
    """The word "smooth" asks for margin, lobulation and spiculation: a table with margins alone cannot answer it."""
    rng = random.Random(0)
    asked = {
        one.attribute for _ in range(300) for one in parse_query(sample_rating_words([schema.MARGIN], rng)).ratings
    }
    assert asked == {schema.MARGIN}
