"""Sentences from reports and guidelines against committed tables of their readings.

`sentences.csv` has the readings that were asked for, `published.csv` sentences written down from published reports,
guidelines and searches before the parser was tried on them, `kinds.csv` further sentences of each kind, `styles.csv`
sentences of several writers and styles with all that is read and named. A refusal is an error, or a note that names
what was not understood while no diameter is read.
"""

import csv
import re
import statistics
import time
from pathlib import Path

import pytest

from noduleclip.errors import UsageError
from noduleclip.language.query import ParsedQuery, describe_query, parse_query

FOLDER = Path(__file__).parent


def load(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((FOLDER / name).read_text(encoding="utf-8").splitlines()))


SENTENCES, PUBLISHED, KINDS = load("sentences.csv"), load("published.csv"), load("kinds.csv")
STYLES = load("styles.csv")


def parse(sentence: str) -> ParsedQuery | None:
    try:
        return parse_query(sentence)
    except UsageError:
        return None


def name_diameter(parsed: ParsedQuery | None) -> str:
    if parsed is None or (parsed.interval is None and parsed.notes):
        return "refuse"
    return "none" if parsed.interval is None else str(parsed.interval).removesuffix(" mm")


@pytest.mark.parametrize("row", [*SENTENCES, *PUBLISHED], ids=lambda row: row["sentence"])
def test_sentences_of_reports_and_guidelines_are_read(row: dict[str, str]) -> None:
    parsed = parse(row["sentence"])
    size, _, ratings = row["reading"].partition("; ")
    allowed = size.split(" or ")
    assert name_diameter(parsed) in (*allowed, "refuse" if "none" in allowed else "")
    if ratings and parsed is not None:
        assert ratings in ", ".join(map(str, parsed.ratings))


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row["sentence"])
def test_each_kind_of_sentence_is_read(row: dict[str, str]) -> None:
    parsed = parse(row["sentence"])
    if row["diameter"] == "none":
        assert parsed is not None
        assert parsed.interval is None
    else:
        assert name_diameter(parsed) == row["diameter"]
    if parsed is not None and row["ratings"]:
        assert (", ".join(map(str, parsed.ratings)) or "none") == row["ratings"]


@pytest.mark.parametrize("row", STYLES, ids=lambda row: row["sentence"])
def test_sentences_of_each_style_are_read_and_the_rest_is_named(row: dict[str, str]) -> None:
    """A row with a limit is read in part or refused; what was not read is named in the error or in the notes."""
    parsed = parse(row["sentence"])
    if row["diameter"] == "refused":
        assert parsed is None
        return
    assert parsed is not None
    assert ("none" if parsed.interval is None else str(parsed.interval).removesuffix(" mm")) == row["diameter"]
    assert ", ".join(map(str, parsed.ratings)) == row["ratings"]
    assert "; ".join(parsed.not_understood) == row["not_understood"]
    assert " ".join(f"{word}>{known}" for word, known in parsed.suggestions.items()) == row["suggestions"]


PAGE = (FOLDER.parents[1] / "docs" / "reference" / "sentences.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(.+?)` \| (.+) \|$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize(("sentence", "reading"), EXAMPLES)
def test_the_page_on_sentences_agrees_with_the_parser(sentence: str, reading: str) -> None:
    parsed = parse(sentence)
    if parsed is None:
        assert reading == "refused"
    elif reading == "note":
        assert parsed.interval is None
        assert parsed.notes
    else:
        size = [str(parsed.interval).removesuffix(" mm")] if parsed.interval else []
        found = [*size, ", ".join(map(str, parsed.ratings))] if parsed.ratings else size
        ratings_left_out = parsed.interval is not None and "`; `" not in reading
        assert reading == "; ".join(f"`{one}`" for one in (size if ratings_left_out else found))


@pytest.mark.parametrize(
    ("sentence", "note"),
    [
        ("8 mm nodule 15 mm from the pleura", "'15 mm' is a distance"),
        ("A 6 mm solid nodule in the right upper lobe", "not understood: right upper lobe"),
        ("volume > 250 mm3", "'> 250 mm3' is read as the sphere of equal volume, 7.8 mm"),
        ("solid nodule <6 mm (<100 mm3)", "repeats the size as a volume"),
        ("8 mm nodule, previously 5 mm", "'5 mm' is a previous size"),
        ("no nodule. 12 mm lymph node", "'12 mm' is the size of something else"),
        ("9 mm vs. 7 mm previously", "'7 mm' is a previous size"),
        ("nodule 3 cm from hilum measures 14 mm", "'3 cm' is a distance"),
        ("nodule with a radius of 4 mm", "'4 mm' is another dimension"),
        ("increase in diameter > 1.5 mm", "'> 1.5 mm' is a change"),
        ("2 cm mass", "'mass' is (30, inf) mm by definition: the size stated is used"),
        ("SUVmax > 2.5", "not understood: suvmax > 2.5"),
    ],
)
def test_notes_name_what_was_ignored_or_converted(sentence: str, note: str) -> None:
    parsed = parse_query(sentence)
    assert any(note in one for one in parsed.notes), parsed.notes
    echo = describe_query(parsed)
    assert f"; note: {parsed.notes[0]}" in echo
    again = parse_query(echo)
    assert (again.interval, again.ratings) == (parsed.interval, parsed.ratings)


@pytest.mark.parametrize(
    ("sentence", "quoted"),
    [
        ("not sure, maybe 6 mm", "'maybe 6 mm': 'maybe'"),
        ("half-diameter of 4 mm", "'half diameter of 4 mm': 'half'"),
        ("slice interval of 5 mm", "'slice interval of 5 mm': 'interval'"),
    ],
)
def test_a_refusal_quotes_the_words_without_stray_punctuation(sentence: str, quoted: str) -> None:
    with pytest.raises(UsageError, match=f"^{quoted} is not understood"):
        parse_query(sentence)


@pytest.mark.parametrize("word", ["kleiner als", "plus petit que", "menor que", "zebra"])
def test_a_refusal_names_the_word(word: str) -> None:
    with pytest.raises(UsageError, match=f"{word.split()[-1]}.* is not understood beside a size"):
        parse_query(f"{word} 6 mm")


def test_a_misspelt_comparison_is_named() -> None:
    with pytest.raises(UsageError, match="'grater' is not understood beside a size"):
        parse_query("nodule grater than 6 mm")


def test_a_sentence_is_parsed_in_well_under_a_millisecond() -> None:
    seconds = []
    for row in SENTENCES:
        start = time.process_time()
        parse(row["sentence"])
        seconds.append(time.process_time() - start)
    assert statistics.median(seconds) < 1e-3
