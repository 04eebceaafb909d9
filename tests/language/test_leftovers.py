"""Words that were not understood are named, and nothing else is; a near miss of a known word is suggested."""

import csv
import random
from pathlib import Path

import pytest

from noduleclip.language import CURATED_PROMPTS, EVALUATION_QUERIES, RATING_QUERIES
from noduleclip.language.near_misses import suggest
from noduleclip.language.query import describe_query, parse_query
from noduleclip.language.rating_words import PHRASES
from noduleclip.language.size_words import ADJECTIVES, UNITS
from noduleclip.retrieval.estimates import PHRASES as DESCRIBED


@pytest.mark.parametrize(
    ("sentence", "runs"),
    [
        ("hello world", ("hello world",)),
        ("right upper lobe", ("right upper lobe",)),
        ("a nodule in the left lung > 6 mm", ("left",)),
        ("nodule with air bronchogram", ("air bronchogram",)),
        ("solid nodule, smoker", ("smoker",)),
        ("a triangular nodule > 6 mm", ("triangular",)),
        ("the largest nodule", ("largest",)),
        ("a tiny nodule", ("tiny",)),
        ("an adenocarcinoma > 10 mm in a woman", ("adenocarcinoma", "woman")),
        ("no evidence of cancer, 12 mm nodule", ("no evidence of cancer",)),
        ("8 mm nodule without cavitation", ("without cavitation",)),
        ("SUVmax > 2.5", ("suvmax > 2.5",)),
        ("a glass nodule", ("glass",)),
        ("nodules in the lingula or the lingula", ("lingula",)),
        ("part-solid nodule, solid component 4 mm", ("solid component",)),
    ],
)
def test_words_that_were_not_used_are_named(sentence: str, runs: tuple[str, ...]) -> None:
    assert parse_query(sentence).not_understood == runs
    assert f"note: not understood: {', '.join(runs)}" in describe_query(parse_query(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "a lung nodule",
        "show me all nodules > 6 mm",
        "I am looking for lesions of about 8 mm, please",
        "which patients have a spiculated nodule larger than 1 cm?",
        "a nodule whose margin is sharp",
        "suspicion of malignancy",
        "8 mm nodule, previously 5 mm",
        "no nodules larger than 4 mm were found",
        "2.5 cm (AP) x 1.8 cm (TR)",
        *EVALUATION_QUERIES,
        *RATING_QUERIES,
        *CURATED_PROMPTS,
        *DESCRIBED.values(),
    ],
)
def test_fillers_are_not_named(sentence: str) -> None:
    parsed = parse_query(sentence)
    assert parsed.not_understood == ()
    assert not any("not understood" in note for note in parsed.notes)


def test_sentences_that_models_are_trained_on_are_understood() -> None:
    rows = csv.DictReader((Path(__file__).parent / "training_sentences.csv").read_text(encoding="utf-8").splitlines())
    runs = {run for row in rows for run in parse_query(row["sentence"]).not_understood}
    assert runs <= {"large", "small"}  # "a large spiculation": no size of the nodule


@pytest.mark.parametrize(
    ("sentence", "note", "suggestions"),
    [
        ("a spiculted nodule", "spiculted (spiculated?)", {"spiculted": "spiculated"}),
        ("calcifed nodul", "calcifed (calcified?) nodul (nodule?)", {"calcifed": "calcified", "nodul": "nodule"}),
        ("soild in the lingula", "soild (solid?), lingula", {"soild": "solid"}),
        ("partsolid", "partsolid (part-solid?)", {"partsolid": "part-solid"}),
        ("a smal one", "smal (small?)", {"smal": "small"}),
        ("hello world", "hello world", {}),
        ("5 milimetr", "5 milimetr (milimeter?)", {"milimetr": "milimeter"}),
    ],
)
def test_a_near_miss_is_suggested(sentence: str, note: str, suggestions: dict[str, str]) -> None:
    parsed = parse_query(sentence)
    assert parsed.suggestions == suggestions
    assert parsed.notes[-1] == f"not understood: {note}"


KNOWN = sorted(
    {word for phrase in (*PHRASES, *ADJECTIVES) for word in phrase if len(word) > 5 and word.isalpha()}
    | {unit for unit in UNITS if len(unit) > 5}
)


def test_most_misspellings_find_their_word() -> None:
    """A letter dropped, doubled or swapped with its neighbour, anywhere behind the first two."""
    rng = random.Random(0)
    found, misspelt = 0, 0
    for known in KNOWN:
        for _ in range(3):
            at = rng.randrange(2, len(known) - 1)
            dropped, doubled = known[:at] + known[at + 1 :], known[:at] + known[at] + known[at:]
            swapped = known[:at] + known[at + 1] + known[at] + known[at + 2 :]
            for word in {dropped, doubled, swapped} - set(KNOWN):
                misspelt += 1
                found += suggest(word) == known
    assert misspelt > 500
    assert found / misspelt > 0.75


ENGLISH = (
    "hello world upper lower middle lobe smoker bronchogram pleura pleural emphysema fibrosis lesson legion stall smell"
    " share shark grass gloss value vogue liner stimulated simulation crucified clarified distance district diabetes"
    " martin found sound pound bound mound wound hound bond blond mild wild gold sold told medial basal opal moral"
    " rural nodal modal model marble barge target garage central mixed marked mode node sugar rug rogue tongue lunge"
    " loculated opacified suspicion distinctly"
    " speaker lodge bigot higher shoulder thorax breast kidney aorta hilum cat cats dog"
)


def test_words_that_are_no_misspellings_have_no_suggestion() -> None:
    assert {word: suggest(word) for word in ENGLISH.split() if suggest(word)} == {}


def test_long_leftovers_are_cut_and_counted() -> None:
    parsed = parse_query(f"{'blah ' * 40}, " + " and ".join(f"word{letter}" for letter in "abcdefgh"))
    assert len(parsed.not_understood) == 9 - 1
    (note,) = parsed.notes
    assert len(note) < 250
    assert note.endswith("and 2 more")
    assert "…" in note
