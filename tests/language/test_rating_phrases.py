"""What sentences say of ratings, and that what is printed reads back."""

import contextlib
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from noduleclip.engine.prompts import sample_rated_sentence, sample_sentences
from noduleclip.errors import RatingLanguageError, UsageError
from noduleclip.language import (
    ATTRIBUTES,
    RATING_QUERIES,
    RatingRange,
    last_rating,
    parse_ratings,
    sample_prompts,
    spell_range,
)
from noduleclip.language.query import describe_query, parse_query
from noduleclip.language.rating_scale import complement, intersect, unite


@pytest.mark.parametrize(
    ("sentence", "ratings"),
    [
        ("a spiculated solid lung nodule larger than 10 mm", "spiculation 3-5, texture 4-5"),
        ("a ground-glass nodule", "texture 1-2"),
        ("a GGO", "texture 1-2"),
        ("non-solid nodule", "texture 1-2"),
        ("a part-solid nodule", "texture 3"),
        ("subsolid nodules", "texture 1-3"),
        ("solid or part-solid nodule", "texture 3-5"),
        ("a calcified nodule <= 6 mm", "calcification 1-5"),
        ("not calcified, 6-10 mm", "calcification 6"),
        ("noncalcified", "calcification 6"),
        ("popcorn calcification", "calcification 1"),
        ("a nodule with a smooth margin", "margin 4-5, lobulation 1-2, spiculation 1-2"),
        ("an ill-defined nodule", "margin 1-2"),
        ("a nodule with sharply defined borders", "margin 4-5"),
        ("a highly suspicious nodule", "malignancy 5"),
        ("suspicious", "malignancy 4-5"),
        ("nodule without spiculation > 8 mm", "spiculation 1-2"),
        ("no lobulation", "lobulation 1-2"),
        ("nodules excluding spiculated", "spiculation 1-2"),
        ("all nodules except solid ones", "texture 1-3"),
        ("malignancy exceeding 3", "malignancy 4-5"),
        ("malignancy greater than or equal to 4", "malignancy 4-5"),
        ("a round nodule", "sphericity 4-5"),
        ("an obvious nodule", "subtlety 4-5"),
        ("malignancy 4", "malignancy 4"),
        ("malignancy >= 4", "malignancy 4-5"),
        ("malignancy of at least 4", "malignancy 4-5"),
        ("a malignancy rating of 4 or 5", "malignancy 4-5"),
        ("malignancy > 2 and < 5", "malignancy 3-4"),
        ("texture 2 to 4", "texture 2-4"),
        ("texture between 2 and 4", "texture 2-4"),
        ("texture from 2 to 4", "texture 2-4"),
        ("texture 4-5, solid", "texture 4-5"),
        ("a lung nodule with diameter > 6 mm", ""),
        ("a pleural nodule", ""),
    ],
)
def test_ratings_are_read(sentence: str, ratings: str) -> None:
    assert ", ".join(map(str, parse_query(sentence).ratings)) == ratings


def test_the_words_of_a_rating_are_taken_and_the_others_left() -> None:
    parsed = parse_query("a spiculated solid lung nodule larger than 10 mm")
    assert parsed.words == ("a", "lung", "nodule")
    assert str(parsed.interval) == "(10, inf) mm"
    assert parse_ratings(("a", "solid", "nodule"))[1] == ("a", "nodule")


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("a solid ground-glass nodule", "contradict each other"),
        ("malignancy > 3 and < 3", "contradicts itself"),
        ("spiculated or lobulated", "'spiculated or lobulated' asks for one of two things"),
        ("spiculated or > 10 mm", "'or' beside 'spiculated'"),
        ("ground-glass or solid", "leaves a gap"),
        ("not part-solid", "'not part solid' leaves more than one range"),
        ("not smooth", "'not smooth' leaves more than one range"),
        ("malignancy 7", "malignancy is rated from 1 to 5"),
        ("malignancy > 5", "no such rating"),
        ("texture 0", "texture is rated from 1 to 5"),
    ],
)
def test_what_is_no_range_is_refused(sentence: str, message: str) -> None:
    with pytest.raises(RatingLanguageError, match=message):
        parse_query(sentence)


@st.composite
def ranges(draw: st.DrawFn, attribute: str | None = None) -> RatingRange:
    name = attribute or draw(st.sampled_from(ATTRIBUTES))
    low = draw(st.integers(1, last_rating(name)))
    return RatingRange(name, low, draw(st.integers(low, last_rating(name))))


@given(st.lists(ranges(), max_size=4, unique_by=lambda asked: asked.attribute), st.booleans())
def test_what_is_printed_reads_back(asked: list[RatingRange], with_size: bool) -> None:
    assume(asked or with_size)
    size = "> 6 mm" if with_size else ""
    parsed = parse_query(f"{size} {', '.join(map(str, asked))}")
    assert set(parsed.ratings) == set(asked)
    again = parse_query(describe_query(parsed))
    assert (again.ratings, again.interval) == (parsed.ratings, parsed.interval)


@given(ranges())
def test_what_is_spelled_out_reads_back(asked: RatingRange) -> None:
    assert parse_query(f"a lung nodule, {spell_range(asked)}").ratings == (asked,)


@given(ranges("texture"), ranges("texture"))
def test_ranges_are_sets_of_ratings(one: RatingRange, other: RatingRange) -> None:
    def members(asked: RatingRange | None) -> set[int]:
        return set() if asked is None else {rating for rating in range(1, 6) if asked.contains(rating)}

    assert members(intersect(one, other)) == members(one) & members(other)
    united = unite(one, other)
    assert united is None or members(united) == members(one) | members(other)
    outside = complement(one)
    assert outside is None or members(outside) == set(range(1, 6)) - members(one)


def test_a_rating_off_the_scale_is_no_range() -> None:
    with pytest.raises(RatingLanguageError, match="ratings run from 1 to 6"):
        RatingRange("calcification", 0, 7)
    with pytest.raises(ValueError, match="'internal_structure' is not one of"):
        last_rating("internal_structure")
    assert not RatingRange("texture", 1, 5).contains(float("nan"))


@pytest.mark.parametrize("seed", range(20))
def test_training_sentences_are_read_as_they_were_meant(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        sentence = sample_rated_sentence(ATTRIBUTES, rng)
        assert parse_query(sentence).ratings, sentence
    sizes = [prompt.interval for prompt in sample_prompts(40, random.Random(seed))]
    parsed_queries = sample_sentences(40, 20, ATTRIBUTES, random.Random(seed))
    assert [parsed.interval for parsed in parsed_queries[:40]] == sizes
    assert not any(parsed.ratings for parsed in parsed_queries[:40])
    assert all(parsed.ratings for parsed in parsed_queries[40:])
    assert len(sample_sentences(40, 20, (), random.Random(seed))) == 40


def test_only_attributes_of_the_table_are_asked_for() -> None:
    rng = random.Random(0)
    for _ in range(200):
        asked = {one.attribute for one in parse_query(sample_rated_sentence(("texture", "subtlety"), rng)).ratings}
        assert asked <= {"texture", "subtlety"}


def test_every_rating_query_asks_for_ratings() -> None:
    assert all(parse_query(query).ratings for query in RATING_QUERIES)


WORDS = ("malignancy", "texture", "solid", "or", "and", "not", "4", "5", ">", ">=", "to", "smooth", "spiculated", "mm")


@given(st.lists(st.sampled_from(WORDS)))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    with contextlib.suppress(UsageError):
        parsed = parse_query(" ".join(words) or "a")
        assert all(1 <= one.low <= one.high <= last_rating(one.attribute) for one in parsed.ratings)
