"""Sentences to tokens: the size enters as bounds on a grid, whatever its wording."""

import pytest

from noduleclip.errors import ArtefactError
from noduleclip.language.vocabulary import GRID_MM, MAX_TOKENS, Tokens, Vocabulary

VOCABULARY = Vocabulary(("a", "diameter", "lung", "nodule", "with"))


def value_mm(tokens: Tokens, place: int) -> float:
    """The millimetres that a token stands for."""
    first = VOCABULARY.size - len(GRID_MM)
    left, right = GRID_MM[tokens.left[place] - first], GRID_MM[tokens.right[place] - first]
    return left + tokens.share[place] * (right - left)


@pytest.mark.parametrize("sentence", ["> 7.3 mm", "bigger than 7.3mm", "over 0.73 cm", "exceeding 7.3 millimetres"])
def test_one_size_has_one_form_whatever_its_wording(sentence: str) -> None:
    tokens, plain = VOCABULARY.encode(sentence), VOCABULARY.encode("> 7.3 mm")
    assert (tokens.left[:4], tokens.right[:4], tokens.share[:4]) == (plain.left[:4], plain.right[:4], plain.share[:4])
    assert value_mm(tokens, 2) == pytest.approx(7.3)


def test_both_bounds_of_a_range_enter() -> None:
    tokens = VOCABULARY.encode("between 0.8 and 1.25 cm")
    assert value_mm(tokens, 2) == pytest.approx(8)
    assert value_mm(tokens, 4) == pytest.approx(12.5)


def test_open_and_closed_bounds_differ() -> None:
    assert VOCABULARY.encode("> 6 mm").left[1] != VOCABULARY.encode(">= 6 mm").left[1]


def test_words_without_a_size_stay_words() -> None:
    tokens = VOCABULARY.encode("a lung nodule")
    with_size = VOCABULARY.encode("a lung nodule > 6 mm")
    assert tokens.left[2:5] == with_size.left[4:7]
    assert tokens.left[1] != with_size.left[1]


@pytest.mark.parametrize("words", ["please show me all of them", "in the right upper lobe", "stable since 2019"])
def test_words_outside_the_vocabulary_do_not_reach_the_encoder(words: str) -> None:
    assert VOCABULARY.encode(f"{words}, nodule > 6 mm") == VOCABULARY.encode("nodule > 6 mm")
    assert VOCABULARY.encode("lung nodule > 6 mm") != VOCABULARY.encode("nodule > 6 mm")


def test_long_sentences_keep_their_size() -> None:
    long = VOCABULARY.encode("nodule " * 80 + "large nodule > 6 mm")
    assert len(long.left) == MAX_TOKENS
    assert value_mm(long, 2) == pytest.approx(10)


def test_it_survives_json_and_refuses_what_is_none() -> None:
    assert Vocabulary.from_mapping(VOCABULARY.to_mapping(), "x") == VOCABULARY
    for values in (
        {},
        {"words": [1], "grid_mm": [0, 1]},
        {"words": [], "grid_mm": [1, 0]},
        {"words": [], "grid_mm": [1]},
        {"words": [], "grid_mm": [0, 1], "attributes": ["weight"]},
    ):
        with pytest.raises(ArtefactError, match=r"^x: its vocabulary"):
            Vocabulary.from_mapping(values, "x")


def test_ratings_enter_as_attribute_and_bounds_whatever_their_wording() -> None:
    rated = Vocabulary(("a", "nodule"), attributes=("texture", "malignancy"))
    solid = rated.encode("a solid nodule")
    assert solid.left == rated.encode("a nodule texture >= 4").left
    assert solid.left != rated.encode("a part-solid nodule").left
    assert max(rated.encode("malignancy 1 to 5").left) < rated.size
    assert rated.encode("a spiculated nodule").left == rated.encode("a nodule").left, "an unknown attribute is left out"
    assert Vocabulary.from_mapping(rated.to_mapping(), "x") == rated
    long = rated.encode("solid " + "very " * 80 + "malignancy 5 nodule > 6 mm")
    assert {rated.size - 12 - 2, rated.size - 12 - 1} <= set(long.left), "ratings are never left out"
