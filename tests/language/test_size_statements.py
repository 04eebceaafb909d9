"""Several sizes in one sentence: which unite, which intersect, and which contradict each other."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from language.intervals import at_least, at_most, inclusive, intervals, over, strictly, within
from noduleclip.errors import SizeLanguageError
from noduleclip.language import SizeInterval, describe_interval, parse_interval, parse_size
from noduleclip.language.size_interval import unite
from noduleclip.language.size_tokens import MAX_SENTENCE_CHARS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("> 10 and < 5", r"'> 10' is \(10, inf\) mm and '< 5' is \[0, 5\) mm: these contradict each other"),
        ("a small nodule > 8 mm", "'small' is .* and '> 8 mm' is .* contradict"),
        ("small, large", "contradict"),
        ("> 6 mm and <= 6 mm", "contradict"),
        ("6 mm nodule, another of 5 mm", "'6 mm' .* and '5 mm' .* contradict"),
        ("< 5 mm or > 10 mm", "joined by 'or'"),
        ("small or large", "'small' is .* and 'large' is .*: sizes joined by 'or' leave a gap"),
        ("< 6 mm or > 6 mm", "joined by 'or' leave a gap"),
        ("5 mm or 8 mm", "joined by 'or' leave a gap"),
        ("small or medium, > 12 mm", "'small or medium' is .* and '> 12 mm' is .* contradict"),
        ("small, medium or large", "'small' is .* and 'medium or large' is .* contradict"),
        ("6 mm or 8 mm, also 5 mm", "'6 mm or 8 mm' is .* and '5 mm' is .* contradict"),
        ("not small or medium", "'not' before sizes joined by 'or' can be read two ways"),
        ("not less than 3 mm or more than 10 mm", "'not' before sizes joined by 'or' can be read two ways"),
        ("small and > 3 mm or 6-10 mm", "mixes 'and' with 'or' and can be read two ways"),
        ("small or medium and over 3 mm", "mixes 'and' with 'or' and can be read two ways"),
        ("large and small or medium and small", "mixes 'and' with 'or' and can be read two ways"),
    ],
)
def test_sizes_that_do_not_go_together_are_an_error(text: str, message: str) -> None:
    with pytest.raises(SizeLanguageError, match=message):
        parse_size(text)


UNIONS: dict[SizeInterval, str] = {
    at_most(10): (
        "small or medium|medium or small|<= 6 mm or 6-10 mm|small, or medium|small and/or medium|small or not large|"
        "a small nodule or a medium nodule|diameter <= 6 mm or with diameter 6-10 mm|(0, 6] mm or (6, 10] mm"
    ),
    over(6): "medium or large|6-10 mm or larger than 10 mm|large or medium",
    at_least(0): "small or medium or large|small or large or medium|< 6 mm or >= 6 mm|small nodules or > 5 mm",
    within(3, 10): (
        "> 3 mm, small or medium|small or medium, > 3 mm|small or medium nodule > 3 mm|over 3 mm and small or medium|"
        "over 3 mm but small or medium|> 3 mm and <= 6 mm or 6-10 mm"
    ),
    strictly(3, 10): "> 3 mm and < 6 mm or > 5 mm and < 10 mm",
    SizeInterval(6, 10, "left"): ">= 6 mm and < 8 mm or >= 8 mm and < 10 mm",
    inclusive(5, 9): "6 mm or 8 mm|8 mm or 6 mm",
    over(5): "malignancy 3 or > 5 mm|solid or > 5 mm",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, interval) for interval, texts in UNIONS.items() for text in texts.split("|")],
)
def test_sizes_joined_by_or_unite_where_they_meet(text: str, expected: SizeInterval) -> None:
    assert parse_interval(text) == expected


def test_or_between_other_words_unites_nothing() -> None:
    assert parse_interval("> 5 mm, grade 2 or large") == over(10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("small or medium nodule", "nodule"),
        ("small and/or medium nodule", "nodule"),
        ("a small nodule or a medium one, solid", "a nodule a one solid"),
        ("solid or > 6 mm", "solid or"),
    ],
)
def test_the_or_between_sizes_is_no_word_of_its_own(text: str, words: str) -> None:
    assert parse_size(text).words == tuple(words.split())


@given(st.lists(intervals(), min_size=1, max_size=4), st.floats(0, 100))
def test_a_union_holds_what_any_of_its_parts_holds(parts: list[SizeInterval], diameter_mm: float) -> None:
    union = unite(parts)
    ends_mm = [end for part in parts for end in (part.low_mm, part.high_mm)]
    between_mm = [(one + other) / 2 for one in ends_mm for other in ends_mm if one < other]
    seen_mm = [mm for mm in (diameter_mm, *ends_mm, *between_mm) if min(ends_mm) < mm < max(ends_mm)]
    held = [any(part.contains(mm) for part in parts) for mm in seen_mm]
    if union is None:
        assert not all(held)
    else:
        assert all(held)
        assert all(union.contains(mm) == any(p.contains(mm) for p in parts) for mm in (diameter_mm, *ends_mm))


@given(intervals(), intervals())
def test_or_is_read_as_the_union(one: SizeInterval, other: SizeInterval) -> None:
    text = f"{one} or {other}"
    assume(len(text) <= MAX_SENTENCE_CHARS)
    union = unite((one, other))
    if union is not None:
        assert parse_interval(text) == union
        return
    with pytest.raises(SizeLanguageError, match="leave a gap"):
        parse_interval(text)
    assert parse_interval(describe_interval(one)) == one
