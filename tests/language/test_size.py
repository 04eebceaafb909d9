"""What a sentence leaves over beside its size, how the reading is said, and that what is said reads back."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from language.intervals import at_most, intervals, over, within
from noduleclip.errors import SizeLanguageError
from noduleclip.language import (
    MAX_SENTENCE_CHARS,
    ParsedSize,
    SizeInterval,
    describe_interval,
    parse_interval,
    parse_intervals,
    parse_size,
)
from noduleclip.language.query import describe_query, parse_query


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a lung nodule with diameter > 6 mm", "a lung nodule with diameter"),
        ("Part-solid nodule, between 6 and 10 mm!", "part solid nodule"),
        ("a medium-size lung nodule", "a lung nodule"),
        ("6 mm or larger, spiculated", "spiculated"),
        ("> 6 mm and < 10 mm in the upper lobe", "in the upper lobe"),
        ("solid and > 6 mm", "solid and"),
        ("malignancy > 3 in slice 12", "malignancy > 3 in slice 12"),
        ("what's not round", "what's not round"),
        ("at least a diameter of 6 mm", "diameter"),
        ("８ ＭＭ Ｓｏｌｉｄ", "solid"),
    ],
)
def test_words_are_what_the_size_leaves_over(text: str, words: str) -> None:
    assert parse_size(text).words == tuple(words.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6 or 8 mm", "'6 or 8 mm' is not one size"),
        ("6 and 10 mm", "write a range as 'between 6 and 10 mm'"),
    ],
)
def test_a_list_of_numbers_is_no_size(text: str, message: str) -> None:
    with pytest.raises(SizeLanguageError, match=message):
        parse_size(text)


def test_a_reading_is_described() -> None:
    sized, unsized = parse_query("a nodule over 6 mm"), parse_query("a pleural nodule")
    assert describe_query(sized) == "read as: diameter larger than 6 mm, (6, inf) mm"
    assert parse_size("a pleural nodule") == ParsedSize(None, ("a", "pleural", "nodule"))
    assert describe_query(unsized) == (
        "read as: no size or rating; ranked by similarity to the words alone, which is no probability; "
        "note: not understood: pleural"
    )
    both = parse_query("a spiculated part-solid nodule of 6-10 mm")
    spelled = "diameter larger than 6 and at most 10 mm, (6, 10] mm; spiculation at least 3; texture 3"
    assert describe_query(both) == f"read as: {spelled}"


def test_sentences_that_all_have_a_size_are_read_in_order() -> None:
    assert parse_intervals(["large", "a nodule of 6-10 mm", "small"]) == [over(10), within(6, 10), at_most(6)]
    assert parse_intervals(()) == []
    with pytest.raises(ValueError, match="'a solid nodule' has no size"):
        parse_intervals(["large", "a solid nodule"])
    with pytest.raises(SizeLanguageError, match="contradict"):
        parse_intervals(["small and large"])


@given(intervals())
def test_a_description_reads_back_as_the_same_interval(interval: SizeInterval) -> None:
    assert parse_interval(describe_interval(interval)) == interval


def test_the_longest_description_reads_back() -> None:
    interval = SizeInterval(5e-324, 2.2250738585072014e-308, "neither")
    assert parse_interval(describe_interval(interval)) == interval


@given(intervals())
def test_what_is_printed_reads_back_as_the_same_interval(interval: SizeInterval) -> None:
    assert parse_interval(str(interval)) == interval
    echo = describe_query(parse_query(describe_interval(interval)))
    assume(len(echo) <= MAX_SENTENCE_CHARS)
    assert parse_interval(echo) == interval
    assert parse_size(echo).words == ("diameter", "in")


FRAGMENTS = (
    *(
        "> ",
        "<= ",
        "= ",
        "≥",
        "6",
        "10",
        "6.5",
        "6,5",
        "1,000",
        "150",
        " mm",
        "cm",
        "mm3",
        "-",
        " - ",
        "–",
        "/",
        "^",
    ),
    *(
        " to ",
        "between ",
        " and ",
        " or ",
        "not ",
        "non-",
        "at least ",
        "up to ",
        "or larger",
        "small ",
        "large ",
    ),
    *(
        "malignancy ",
        "x",
        "×",
        "+",
        "±",
        "~",
        "..",
        ".",
        "²",
        "½",
        "(",
        "]",
        ", ",
        "inf",
        "medium ",
        "minus ",
        "about ",
        "d ",
        "six ",
        "inclusive",
        "٦",
    ),
)


@settings(max_examples=400)
@given(st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = parse_size(text)
    except SizeLanguageError:
        return
    assert parsed.interval is None or parse_interval(describe_interval(parsed.interval)) == parsed.interval
    assert all(word == word.strip() != "" for word in parsed.words)


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1,",
        "1-",
        "1^",
        "5x",
        "5 x ",
        "~",
        "about ",
        "not ",
        "(",
        "[1,",
        "(6,",
        "(6, 8] ",
        "small or ",
        "- ",
        "=~",
        "> ",
        "> 6 ",
        "6 mm ",
        "of ",
        "a'",
        "\ufdfa",
        "\t",
    ],
)
def test_a_thousand_hostile_characters_end_soon(piece: str) -> None:
    text = (piece * MAX_SENTENCE_CHARS)[:MAX_SENTENCE_CHARS]
    try:
        words = parse_size(text).words
    except SizeLanguageError:
        return
    assert len(words) <= 18 * MAX_SENTENCE_CHARS  # the longest NFKC expansion of one character


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("6 to <10 mm", SizeInterval(6, 10, "left")),
        ("from 6 to less than 10 mm", SizeInterval(6, 10, "left")),
        ("between 6 and <10 mm", SizeInterval(6, 10, "left")),
        ("0.6 to under 1 cm", SizeInterval(6, 10, "left")),
        ("6 to <= 10 mm", SizeInterval(6, 10, "right")),
    ],
)
def test_a_range_may_say_whether_its_end_belongs_to_it(text: str, interval: SizeInterval) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize(
    "text",
    ["larger than small", "medium or larger", "at least medium", "larger nodules than 6 mm", "6 to not more than 10 mm",
     "from 6 mm to just under 8 mm", "a nodule, smaller than large"],
)  # fmt: skip
def test_what_is_half_understood_is_refused(text: str) -> None:
    with pytest.raises(SizeLanguageError, match="is only half understood; say it with numbers"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("up to and including 6 mm", SizeInterval(0, 6, "both")),
        ("greater or equal 6 mm", SizeInterval(6, math.inf, "left")),
        ("above or equal to 6 mm", SizeInterval(6, math.inf, "left")),
        ("equal or less than 6 mm", SizeInterval(0, 6, "both")),
        ("between 6 & 10 mm", SizeInterval(6, 10, "right")),
        ("not so large", SizeInterval(0, 10, "both")),
    ],
)
def test_further_ways_to_say_it(text: str, interval: SizeInterval) -> None:
    assert parse_interval(text) == interval
