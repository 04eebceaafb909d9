"""The size language against a table of phrases."""

import pytest

from language.intervals import at_least, at_most, inclusive, over, strictly, under, within
from noduleclip.language import SizeInterval, parse_interval

PHRASES: dict[SizeInterval | None, str] = {
    over(6): (
        "> 6 mm|>6mm|d > 6|> 6|＞ ６ ｍｍ|> 6\u00a0mm|> 6\u2009mm|> 6-mm|> six mm|> 0.6 cm|larger than 6 mm|"
        "Bigger Than 6 MM|greater than 6|more than 6 mm|over 6 mm|above 6 mm|exceeding 6 mm|beyond 6 mm|"
        "in excess of 6 mm|larger in diameter than 6 mm|6 mm < d|6 < x|not small|non-small nodule|"
        "not a small nodule|not <= 6 mm|over about 6 mm|≰ 6 mm"
    ),
    at_least(6): (
        ">= 6 mm|>=6mm|≥ 6 mm|⩾6|=> 6|> = 6|at least 6 mm|no less than 6 mm|minimum 6 mm|"
        "not smaller than 6 mm|not less than 6|not under 6 mm|6 mm or larger|6 mm or more|≮ 6 mm|"
        "6 mm and above|6 mm+|6+ mm|6mm +|6 mm plus|6 mm and up|6 mm upwards|6 or larger|"
        "greater than or equal to 6 mm|equal to or greater than 6 mm|larger or equal to 6 mm|min. 6 mm|"
        "at least a diameter of 6 mm|6 <= d|0.6 cm or larger|at least 6 millimetres|6 mm at least"
    ),
    under(6): (
        "< 6 mm|<6mm|under 6 mm|below 6 mm|less than 6 mm|smaller than 6 millimeters|6 mm > d|"
        "not >= 6 mm|sub-6 mm nodule|less than 0,6 cm"
    ),
    at_most(6): (
        "<= 6 mm|≤6|⩽ 6 mm|=< 6 mm|up to 6 mm|at most 6 mm|no more than 6 mm|6 mm or less|"
        "no larger than 6 mm|not larger than 6 mm|not bigger than 6|not exceeding 6 mm|max. 6 mm|"
        "isn't larger than 6 mm|isn’t over 6 mm|does not exceed 6 mm|6 mm or smaller|6 mm and under|"
        "less than or equal to 6 mm|6 mm at most|6 mm >= d|small|small-sized|a small nodule"
    ),
    at_most(10): "not large|not a large nodule|non-large|not big",
    over(10): "large|big|a LARGE lung nodule|a large-size nodule|not <= 10 mm",
    within(6, 10): (
        "6-10 mm|6-10mm|6–10 mm|6—10 mm|6 − 10 mm|6 -10 mm|6 to 10 mm|6-to-10 mm|6~10 mm|"
        "6- to 10-mm nodules|6mm-10mm|6 mm - 1 cm|6 mm to 10 mm|6 through 10 mm|6..10 mm|6-10|"
        "between 6 and 10 mm|between 6 mm and 1 cm|between 0.6 and 1 cm|between 6 and 10|6-10-mm|"
        "from 6 to 10 mm|from 6 mm up to 10 mm|ranging from 6 to 10 mm|between about 6 and 10 mm|"
        "six to ten mm|0,6-1,0 cm|> 6 mm and <= 10 mm|6 < d <= 10|diameter = 6-10 mm|> 6 up to 10 mm|"
        "medium|medium-size|medium size|medium-sized|mid-size|mid-sized|midsize|intermediate"
    ),
    within(8, 12): "between 0.8 and 1.2 cm|8 mm - 1.2 cm|8 mm – 12 mm|0.8 – 1.2 centimetres",
    within(60, 100): "6-10 cm|60-100 mm",
    within(3, 6): "small nodule > 3 mm|> 3 mm, small|over 3 mm but not over 6 mm|small and over 3 mm",
    strictly(6, 10): "> 6 mm and < 10 mm|over 6 mm but under 1 cm|>6mm<10mm|6 < d < 10 mm",
    SizeInterval(6, 8, "left"): "6 <= d < 8|at least 6 mm and less than 8 mm|6 mm or larger but under 8 mm",
    inclusive(6, 10): "between 6 and 10 mm inclusive|6-10 mm (inclusive)|8 ± 2 mm|8 +/- 2 mm",
    inclusive(7, 9): (
        "an 8 mm nodule|8mm|8-mm nodule|about 8 mm|approx. 8 mm|~8 mm|= 8 mm|= 8|=8mm|0.8cm|"
        "measuring 8 mm|8 millimeters|equal to 8|as large as 8 mm|maximum diameter of 8 mm|eight mm|"
        "5 mm x 8 mm|5x8 mm|8×5 mm|5 x 8 x 6 mm|0.5 by 0.8 cm|5mm x 0.8cm|8 mm nodule, 0.8 cm"
    ),
    inclusive(5.5, 7.5): "6,5 mm|6.5 mm|6·5 mm|.65 cm|0,65 cm",
    inclusive(0, 1.5): "0.5 mm",
    inclusive(99, 100): "100 mm",
    under(10): "subcentimeter nodule|sub-centimetre",
    at_least(0): "> 0 mm|>= 0",
    None: (
        "a lung nodule|nodule 5|stage 2|malignancy 4|largest nodule|smaller nodules|the larger one|"
        "malignancy > 3|malignancy > 3 and < 5|3 < malignancy < 5|rated 4-5|malignancy of at least 3|"
        "age over 60|aged between 50 and 60|over 60 years old|> 50 %|at least 3 readers|series 2-3|"
        "slice thickness < 2 mm|2.5 mm slices|small cell carcinoma|non-small-cell cancer|large vessel|"
        "LIDC-IDRI-0078|2020-01-05|3d view|1st|two or more nodules|...|x|5/5|larger than it"
    ),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, interval) for interval, texts in PHRASES.items() for text in texts.split("|")],
)
def test_a_phrase_is_read(text: str, expected: SizeInterval | None) -> None:
    assert parse_interval(text) == expected
    assert parse_interval(f"a solid nodule {text}") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("malignancy > 3, > 6 mm", over(6)),
        ("malignancy > 3 and diameter > 6", over(6)),
        ("malignancy of at least 3 and 6-10 mm", within(6, 10)),
        ("stage 3 and 8 mm nodule", inclusive(7, 9)),
        ("slice thickness <= 2 mm, nodule over 6 mm", over(6)),
        ("age over 60, > 6 mm", over(6)),
        ("case LIDC-IDRI-0078 > 6mm", over(6)),
        ("small cell cancer, 8 mm nodule", inclusive(7, 9)),
        ("small 6 mm nodule", inclusive(5, 6)),
    ],
)
def test_numbers_of_other_attributes_are_no_size(text: str, expected: SizeInterval) -> None:
    assert parse_interval(text) == expected


NOTATION: dict[SizeInterval | None, str] = {
    over(6): "(6, inf) mm|(6, ∞) mm|(6, infinity) mm|(6, inf)|(0.6, inf) cm|( 6, inf ] mm|not [0, 6] mm",
    at_least(6): "[6, inf) mm|[6,inf) mm|[6, ∞)",
    at_most(6): "[0, 6] mm|(0, 6] mm|[0,6] mm|not (6, inf) mm",
    within(6, 10): (
        "(6, 10] mm|(6,10] mm|(6; 10] mm|(6, 10]mm|(6, 10]|（6，10］ ｍｍ|(0.6, 1] cm|diameter = (6, 10] mm|"
        "diameter in (6, 10] mm|read as: diameter in (6, 10] mm|Read as: diameter in (6, 10] mm|(6, 10] mm, medium|"
        "6-10 (mm)|(6-10 mm)|medium (6-10 mm)|over 6 mm (up to 10 mm)"
    ),
    SizeInterval(6, 10, "left"): "[6, 10) mm|[6,10) millimeters|[6; 10)",
    strictly(6, 10): "(6, 10) mm|(6; 10) mm",
    inclusive(6, 10): "[6, 10] mm|[6,10] mm|6-10 mm (inclusive)",
    inclusive(6, 6): "[6, 6] mm",
    within(6.5, 10.5): "(6.5, 10.5] mm|(6,5, 10,5] mm|(6,5; 10,5] mm",
    inclusive(7, 9): "(8 mm)|nodule (3, 5, 8 mm)|[8 mm]|an (8 mm) nodule",
    None: (
        "(6, 10)|see [1, 2]|[6]|(6,5) mm|(6, x) mm|malignancy (3, 5]|rated [3, inf)|slice thickness [1, 2] mm|"
        "(1, 5] patients|(6,|(|[|(6, 10|inf"
    ),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, interval) for interval, texts in NOTATION.items() for text in texts.split("|")],
)
def test_brackets_are_read_as_an_interval_or_left_alone(text: str, expected: SizeInterval | None) -> None:
    assert parse_interval(text) == expected
