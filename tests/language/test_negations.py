"""A negation, in whatever words, is never read as its opposite: it is read as the complement, or refused."""

import pytest

from noduleclip.errors import UsageError
from noduleclip.language.query import ParsedQuery, parse_query

_BEFORE_NOUNS = (
    "no|without|w/o|free of|free from|absence of|absent|lack of|lacks|lacking|devoid of|no evidence of|"
    "no sign of|no signs of|no hint of|no trace of|without any|without evidence of|without obvious|"
    "without definite|without clear|without any visible|no clear|no definite|no significant|no visible|"
    "no apparent|no real|no frank|no overt|never any|nil|zero|hasn't|has no|have no|having no|does not have|"
    "doesn't have|don't have|does not show|doesn't show|not showing|showing no|not have|hardly any|barely any|"
    "scarcely any|almost no|practically no|virtually no|little|little or no|few or no|little if any|minus|sans|"
    "unless|excluding|except|except for|exclude|other than|apart from|but no|and no|nor|with no|there is no|"
    "there's no|not any|not much|not a lot of|no more|no longer any|loss of|missing|fails to show|failed to show|"
    "negative for|rule out|cannot see|can't see|couldn't find|no obvious|absence of any|want no|do not want|"
    "don't want|I don't want any|not interested in|nothing with|none with|none has|none have|nodules never have|"
    "never has|anything without|all without|those without|ones without|only without"
)
_BEFORE_ADJECTIVES = (
    "not|never|isn't|aren't|wasn't|is not|are not|that is not|which are not|not a|not very|not too|not so|"
    "not really|not at all|not quite|not clearly|not definitely|not obviously|not particularly|not overly|"
    "not entirely|not completely|not fully|not exactly|not just|not only|hardly|barely|scarcely|far from|"
    "anything but|by no means|in no way|neither|non|non-|un-|no|none|none is|none are|nothing|no longer|not yet|"
    "never seen|not seen as|not described as|not rated|not considered|not called|unless|except|excluding|"
    "excluding the|without|other than|all but|everything but|but not|and not|don't show|do not show|not showing|"
    "not look|doesn't look|don't look|does not appear|doesn't appear|not appearing|not looking|cannot be|"
    "can't be|won't be|shouldn't be|must not be|mustn't be|should not be|may not be|might not be|need not be|"
    "rather than|instead of|as opposed to|non-obviously|not necessarily|instead of being|no nodules that are|"
    "no nodules which are|without nodules that are|no nodule is|nodules none of which are|nodules not being|"
    "avoid|skip|drop|omit|ignore|hide|remove|reject|discard|exclude any"
)
BEFORE_NOUNS, BEFORE_ADJECTIVES = _BEFORE_NOUNS.split("|"), _BEFORE_ADJECTIVES.split("|")
NOUNS = ("spiculation", "calcification", "lobulation", "malignancy", "calcifications")
ADJECTIVES = ("spiculated", "calcified", "solid", "round", "benign", "malignant", "ground-glass", "lobulated")
SIZED_NODULES = ("nodules > 6 mm", "nodules larger than 6 mm", "nodule of 6 mm or more", "lesions exceeding 6 mm")
COMPARISONS = ("> 6 mm", "larger than 6 mm", "at least 6 mm", "smaller than 6 mm")


def parse(sentence: str) -> ParsedQuery | None:
    try:
        return parse_query(sentence)
    except UsageError:
        return None


def join(negation: str, denied: str) -> str:
    return f"nodule {negation}{denied}" if negation.endswith("-") else f"nodule {negation} {denied}"


@pytest.mark.parametrize("denied", [*NOUNS, *ADJECTIVES])
def test_a_denied_rating_is_never_asked_for(denied: str) -> None:
    asked = set(parse_query(denied).ratings)
    sentences = [join(negation, denied) for negation in (BEFORE_NOUNS if denied in NOUNS else BEFORE_ADJECTIVES)]
    parsed = {sentence: parse(sentence) for sentence in sentences}
    assert asked
    assert [sentence for sentence, one in parsed.items() if one and asked & set(one.ratings)] == []
    assert (
        sum(one is not None and bool(one.ratings) for one in parsed.values()) > len(sentences) / 3
    )  # the others are refused


@pytest.mark.parametrize("denied", [*SIZED_NODULES, *COMPARISONS])
def test_a_denied_size_is_never_asked_for(denied: str) -> None:
    asked = parse_query(denied).interval
    negations = BEFORE_NOUNS if denied in SIZED_NODULES else BEFORE_ADJECTIVES
    sentences = [
        f"{negation} {denied}" if denied in SIZED_NODULES else join(negation, denied) for negation in negations
    ]
    assert asked is not None
    assert [sentence for sentence in sentences if (one := parse(sentence)) and one.interval == asked] == []


@pytest.mark.parametrize(
    ("sentence", "quoted"),
    [
        ("no spiculation, lobulation, calcification", "two ways; say 'no' before each"),
        ("without fat, calcification", "two ways; say 'no' before each"),
        ("no sharp calcification", "two ways; say one rating"),
        ("may or may not be calcified", "both are allowed"),
        ("nodules below 6 mm can be ignored", "'below 6 mm can be ignored': the negation"),
        ("hardly any nodules > 6 mm", "'hardly' is not understood beside a size"),
        ("calcified = false", "'calcified false' is not understood; say 'not calcified'"),
        ("regardless of calcification", "only half understood"),
        ("until 8 mm", "only half understood"),
        ("at least 8 mm or with spiculation", "one of two things"),
    ],
)
def test_what_can_be_read_two_ways_is_refused(sentence: str, quoted: str) -> None:
    with pytest.raises(UsageError, match=quoted):
        parse_query(sentence)


@pytest.mark.parametrize(
    ("sentence", "ratings", "named"),
    [
        ("without cavitation or calcification", "calcification 6", "without cavitation"),
        ("no spiculation, lobulation or fat", "lobulation 1-2, spiculation 1-2", "no fat"),
        (
            "no effusion or pneumothorax, smooth margin",
            "margin 4-5, lobulation 1-2, spiculation 1-2",
            "no effusion; pneumothorax",
        ),
        ("no fat and no calcification", "calcification 6", "no fat"),
        ("no calcification, 8 mm nodule", "calcification 6", ""),
        ("nonmalignant", "malignancy 1-3", ""),
        ("texture != solid", "texture 1-3", ""),
    ],
)
def test_lists_and_prefixes_are_denied(sentence: str, ratings: str, named: str) -> None:
    parsed = parse_query(sentence)
    assert ", ".join(map(str, parsed.ratings)) == ratings
    assert "; ".join(parsed.not_understood) == named


@pytest.mark.parametrize(
    "thing", ["lymph node", "pleural plaques", "coronary arteries", "airway", "muscle", "component"]
)
@pytest.mark.parametrize("word", ["calcified", "solid", "smooth", "malignant", "spiculated", "small", "large"])
def test_what_is_said_of_something_else_is_named(word: str, thing: str) -> None:
    parsed = parse_query(f"{word} {thing}, 8 mm nodule")
    assert str(parsed.interval) == "[7, 9] mm"
    assert parsed.ratings == ()
    assert word in parsed.not_understood[0]
