"""What a number measures: the diameter of the nodule, or something else that the words around it name."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from noduleclip.language.context_words import (
    ABBREVIATIONS,
    ATTRIBUTES,
    BODY,
    CLAUSE_ENDS,
    COUNTED,
    DISTANCE_FOLLOWERS,
    GROWTH_ADJECTIVES,
    LINKS,
    NODULES,
    NOW,
    OTHER_QUANTITIES,
    OTHER_UNITS,
    PAST,
    PAST_REFERENCES,
    PAST_SEEN,
    RATED,
    RATED_PLURALS,
    SLICES,
    UNSIZED_NOUNS,
)
from noduleclip.language.rating_scale import ATTRIBUTES as RATED_NAMES
from noduleclip.language.rating_words import PHRASES, names_other_noun
from noduleclip.language.size_grammar import Cursor
from noduleclip.language.size_phrase import Phrase
from noduleclip.language.size_tokens import Token
from noduleclip.language.size_words import MIRRORED, NAMED_SIZES
from noduleclip.language.words import NOT, split_words

PLAIN, PREVIOUS, COUNT = "", "a previous size", "a rating or count"
_STOPS = split_words(
    "with near adjacent next abutting on at by and or but which that is are was has have for than ) ( , ; . : / within"
    " without not no × x"
)
_COMPARISON_JOINTS = split_words("and but ,")
_NOUN_JOINTS = split_words("and with plus in within a an ct")
_OTHER_THING = "the size of something else"
_OF_OTHER_NOUNS = (_OTHER_THING, "the size of a part", "a thickness", "no length")
_DISTANCE = "a distance"
_YEAR = re.compile("(?:19|20)[0-9]{2}")


class Place(NamedTuple):
    """Where a phrase stands.

    Attributes:
        tokens: The sentence.
        phrase: What reads like a size.
        previous_end: Where the last phrase with a number ended, whatever it measures.
        other: What the last phrase measured if it was not the diameter, "" if it was.
    """

    tokens: Sequence[Token]
    phrase: Phrase
    previous_end: int
    other: str

    @property
    def clause(self) -> Sequence[Token]:
        """The words of its clause before it, behind the last phrase with a number."""
        start = self.previous_end
        if self.tokens[self.phrase.start].text == "." and self.tokens[self.phrase.start - 1].text not in ABBREVIATIONS:
            return ()  # the end of a sentence that reads like "approx."
        for at in range(start, self.phrase.start):
            ends = self.tokens[at].text in CLAUSE_ENDS or (
                self.tokens[at].text == "." and self.tokens[at - 1].text not in ABBREVIATIONS
            )
            start = at + 1 if ends else start
        return self.tokens[start : self.phrase.start]

    @property
    def heading(self) -> Sequence[Token]:
        """The words before a comma directly before it: "lymph node, 12 mm"."""
        end = self.phrase.start - 1
        if end < self.previous_end or self.tokens[end].text != ",":
            return ()
        start = end
        while start > self.previous_end and self.tokens[start - 1].text not in CLAUSE_ENDS | {"."}:
            start -= 1
        return self.tokens[start:end]

    @property
    def ahead(self) -> list[str]:
        """The texts of the next tokens, without hyphens."""
        return [token.text for token in self.tokens[self.phrase.end : self.phrase.end + 8] if token.text != "-"]

    @property
    def has_own_noun(self) -> bool:
        """Whether a nodule follows it in the same words: "8 mm solid nodule"."""
        return next((text for text in self.ahead if text in NODULES or text in _STOPS), "") in NODULES


def find_measured(place: Place) -> str:
    """Return what a phrase measures: "" for the diameter, else its name, such as "a distance"."""
    phrase, ahead = place.phrase, place.ahead
    if phrase.operator in NAMED_SIZES:
        return _name_noun(place)
    is_chained = bool(place.other) and all(
        token.text in ("and", "or", "but", "(") for token in place.tokens[place.previous_end : phrase.start]
    )
    if is_chained and place.other != PREVIOUS and phrase.has_unit == (place.other != COUNT):
        return place.other
    if not phrase.has_unit and (number := _name_plain_number(place)):
        return number
    before = [token.text for token in place.clause]
    if not place.has_own_noun and (other := _find_other([token.text for token in place.heading])):
        return other
    return _find_after(ahead) or _find_before(before, place) or _find_past(before, ahead, place)


def _name_noun(place: Place) -> str:
    """Distinguish "small cell", "body mass index" and "nodules or masses" from a named size."""
    follower = next(iter(place.ahead), "")
    before = [token.text for token in place.clause[-2:]]
    is_unsized = follower in UNSIZED_NOUNS or follower in OTHER_QUANTITIES
    is_unsized = is_unsized or names_other_noun(place.ahead)
    if (is_unsized and not is_part_solid(follower, place.ahead)) or (before and before[-1] in BODY):
        return "something else"
    if place.phrase.operator != "mass":
        return PLAIN
    texts = [token.text for token in place.tokens]
    joined_before = len(before) == 2 and before[1] in ("or", "and", "/") and before[0] in NODULES
    after = texts[place.phrase.end : place.phrase.end + 2]
    joined_after = len(after) == 2 and after[0] in ("or", "and", "/") and after[1] in NODULES
    return "something else" if joined_before or joined_after or "mediastinal" in before else PLAIN


def _name_plain_number(place: Place) -> str:
    """Name what a number without a unit counts: "malignancy > 3", "over 60 years", "at least 3 nodules"."""
    phrase, tokens = place.phrase, place.tokens
    for token in reversed(tokens[: phrase.start]):
        if token.text in ATTRIBUTES | RATED_PLURALS:
            return COUNT
        if token.text not in LINKS:
            break
    if phrase.is_exact and tokens[phrase.start].text == "=" and tokens[phrase.start - 1].text in RATED:
        return COUNT  # "spiculated=1"
    follower = next(iter(place.ahead), "")
    is_mirrored = tokens[phrase.end - 1].text in MIRRORED
    is_of_rating = follower in RATED_NAMES or (follower == "for" and "".join(place.ahead[1:2]) in RATED_NAMES)
    is_spelled = any(t.kind == "number" and not t.spoken[0].isdigit() for t in tokens[phrase.start : phrase.end])
    is_spelled = is_spelled and not any(t.spoken.startswith(".") for t in tokens[phrase.start : phrase.end])
    is_spelled = is_spelled and not _shares_unit(place)
    is_counted = next((text for text in place.ahead if text in NODULES or text in _STOPS), "") in COUNTED
    follows = follower in OTHER_UNITS or (is_mirrored and follower in ATTRIBUTES) or is_of_rating
    return COUNT if is_spelled or follows or is_counted else PLAIN


def _shares_unit(place: Place) -> bool:
    """Return whether a number in words is one of two comparisons, of which the other has the unit.

    "Greater than six but less than ten millimetres", "less than two centimeters but more than one".
    """
    if place.phrase.operator not in MIRRORED:
        return False
    tokens, phrase = place.tokens, place.phrase
    gap = {token.text for token in tokens[place.previous_end : phrase.start]}
    if place.previous_end and not place.other and gap and gap <= _COMPARISON_JOINTS:
        return not place.ahead or place.ahead[0] in _STOPS
    cursor = Cursor(tokens)
    cursor.at = phrase.end
    cursor.skip(_COMPARISON_JOINTS)
    other = cursor.take_phrase() if cursor.at > phrase.end else None
    return other is not None and other.has_unit and other.operator in MIRRORED


def _find_after(ahead: Sequence[str]) -> str:
    """Name what the words behind a number make of it: "8 mm wall thickness", "15 mm from the pleura"."""
    if ahead[:1] == ["("]:
        ahead = ahead[1:]
    if ahead[:1] == ["from"] and len(ahead) > 1 and ahead[1][:1].isdigit():
        return PLAIN  # "8 mm from 5 mm"
    for length in (3, 2, 1):
        if tuple(ahead[:length]) in DISTANCE_FOLLOWERS:
            return _DISTANCE
    if "per" in ahead[:1] or ahead[:2] in (["/", "year"], ["/", "yr"], ["/", "day"], ["/", "month"]):
        return "a change"
    if ahead[:1] == ["thick"]:
        return "a thickness"
    for text in ahead:
        if text in NODULES or text in _STOPS or text[:1].isdigit():
            return PLAIN
        if text in SLICES:
            return "a thickness"
        if text in OTHER_QUANTITIES and text not in GROWTH_ADJECTIVES and not is_part_solid(text, ahead):
            return OTHER_QUANTITIES[text]
    return PLAIN


def is_part_solid(text: str, texts: Sequence[str]) -> bool:
    """Return whether "part" stands for "part-solid" among the next words."""
    return text == "part" and "solid" in texts[texts.index("part") + 1 : texts.index("part") + 3]


def _find_before(before: Sequence[str], place: Place) -> str:
    """Name what the words of the clause before a number make of it: "solid component of 8 mm", "growth > 2 mm"."""
    ahead = place.ahead
    has_noun = any(text in NODULES for text in ahead[:3])
    own = _find_own_start(before) if place.has_own_noun else 0
    for at, text in enumerate(before):
        kind = OTHER_QUANTITIES.get(text, "")
        if is_part_solid(text, before[at:]) or (at < own and kind in _OF_OTHER_NOUNS):
            continue
        if kind == "a change":
            is_adjective = text in GROWTH_ADJECTIVES and (has_noun or any(t in NODULES for t in before[at + 1 :]))
            if is_adjective or (before[-1] in NOW and before[-1:] != ["from"]):
                continue
        if text in ("margin", "margins") and _is_rated_margin(before, at):
            continue
        if kind:
            return kind
    is_near = "within" in before and ahead[:1] == ["of"]
    return _DISTANCE if is_near else PLAIN


def _find_other(heading: Sequence[str]) -> str:
    """Name what the words before a comma end with, if it is an organ or finding: "lymph node, 12 mm"."""
    if any(text in NODULES or text in NOT for text in heading):
        return ""
    kind = OTHER_QUANTITIES.get(heading[-1], "") if heading else ""
    return kind if kind == _OTHER_THING else ""


def _find_own_start(before: Sequence[str]) -> int:
    """Return where the words before a number begin that are on its own noun: "effusion and" | "an" 8 mm "nodule"."""
    return max((at + 1 for at, text in enumerate(before) if text in _NOUN_JOINTS), default=0)


def _is_rated_margin(texts: Sequence[str], at: int) -> bool:
    """Distinguish "smooth margin" and "margin >= 4" from a margin of so many millimetres."""
    rated = any(tuple(texts[start : at + 1]) in PHRASES for start in range(max(0, at - 2), at))
    return rated or any(text[0].isdigit() or text in NODULES for text in texts[at + 1 :])


def _find_past(before: Sequence[str], ahead: Sequence[str], place: Place) -> str:
    """Name a size that the nodule had: "previously 5 mm", "(was 5 mm)", "5 mm on the prior study"."""
    if any(text in PAST and not PAST_SEEN & set(before[at:]) for at, text in enumerate(before)):
        return PREVIOUS if not set(before) & {"now", "currently"} else PLAIN
    later = [text for text in ahead[:6] if text not in ("the", "a", "(", ")")]
    is_past = bool(PAST.intersection(later[:1])) or later[:2] in (["on", "prior"], ["on", "previous"])
    is_of_next = any(text[0].isdigit() for text in later[1:4])  # "14 mm (previously 9 mm)"
    is_year = later[:1] == ["in"] and bool(_YEAR.fullmatch("".join(later[1:2])))
    if is_year or (is_past and not is_of_next and not PAST_SEEN & set(later[:3])):
        return PREVIOUS
    if not place.previous_end:
        return PLAIN
    if place.other == _DISTANCE and before[:1] == ["from"]:
        before = before[1:]  # "3 cm from the hilum measures 14 mm"
    is_start = place.tokens[place.phrase.start].text == "from" and place.phrase.is_exact  # "8 mm from 5 mm"
    refers = any(tuple(before[i : i + n]) in PAST_REFERENCES for n in (1, 2, 3) for i in range(len(before)))
    return PREVIOUS if is_start or refers else PLAIN
