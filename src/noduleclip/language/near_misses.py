"""Known words that a word which was not understood may have been meant as: "spiculted" is near "spiculated"."""

import functools

from noduleclip.language.context_words import BESIDE
from noduleclip.language.leftovers import FILLERS
from noduleclip.language.rating_scale import ATTRIBUTES
from noduleclip.language.rating_words import PHRASES
from noduleclip.language.size_words import ADJECTIVES, UNITS
from noduleclip.language.words import LESS, MORE, split_words

_OTHERS = split_words("nodule nodules lesion lesions opacity opacities tumor tumour diameter between") | {
    *MORE.split("|"), *LESS.split("|"),
}  # fmt: skip
_ORDINARY = split_words(
    "border borders edge edges contour contours margins defined marked fairly extremely partly partially unlikely mixed"
    " central obvious square inch inches meter meters micro micron microns sized fewer lower wider longer shorter"
    " cancer narrower higher masses"
)
"""Known words that are near too many others to be guessed."""
_REAL_WORDS = split_words(
    "distinctly indistinctly loculated opacified suspicion"
    " bugger burred cankerous centiliter centiliters clarification clarifications clarified crucified egocentric fizzy"
    " fuzz glads gloss grass groundless larder largo legion legions lesson lessons liner marinaded marinated marinates"
    " marlin martin rebounded redounded resounded rotund shard share shark simulated simulation simulations smell"
    " smooch soled soli sooth stall stimulate stimulated stimulation stipulate stipulated stipulation stipulations"
    " stolid stolidly tutor value vogue"
)
"""English words that are near a known word and are not meant as it."""
_NEVER = FILLERS | BESIDE | _REAL_WORDS
_SHORTEST = 4
_LONG = 9  # letters from which on two edits are a near miss


@functools.lru_cache(1024)
def suggest(word: str) -> str | None:
    """Return the known word nearest to an unknown one; None where none is near.

    Near is one edit of a word of 5 letters or more, two of 9 or more, and a last letter that is missing of 4; an edit
    adds, drops or replaces a letter, or swaps two neighbours. The first letters are the same, or swapped, or the first
    one is missing.
    """
    if len(word) < _SHORTEST or not word.isalpha() or word in _NEVER:
        return None
    if _list_known().get(word) == word:
        return None
    forms = _list_forms()
    near = [*forms.get(word[0], ()), *forms.get(word[1], ())]
    found = [(edits, -len(known), known) for known in near if (edits := _measure(word, known)) is not None]
    return _list_known()[min(found)[2]] if found else None


@functools.cache
def _list_known() -> dict[str, str]:
    """Return the words of sizes, units and ratings as they are compared, with their form in a suggestion."""
    joined = {"".join(phrase): "-".join(phrase) for phrase in PHRASES if len(phrase) == 2}
    words = {word for phrase in (*PHRASES, *ADJECTIVES) for word in phrase} | set(ATTRIBUTES) | set(UNITS) | _OTHERS
    words -= _ORDINARY
    return joined | {word: word for word in words if len(word) > _SHORTEST and word.isalpha()}


@functools.cache
def _list_forms() -> dict[str, list[str]]:
    """Return the known words by their first letter, and by the second where that may stand first."""
    forms: dict[str, list[str]] = {}
    for known in _list_known():
        for letter in dict.fromkeys(known[:2]):
            forms.setdefault(letter, []).append(known)
    return forms


def _measure(word: str, known: str) -> int | None:
    """Return the edits from a word to a known one; None where it is no near miss of it."""
    if len(word) == _SHORTEST:
        return 1 if known[:-1] == word else None
    most = 2 if len(word) >= _LONG else 1
    starts_alike = word[0] == known[0] or word[:2] == known[1::-1] or word == known[1:]
    if abs(len(word) - len(known)) > most or not starts_alike:
        return None
    distance = _count_edits(word, known)
    return distance if distance <= most else None


def _count_edits(one: str, other: str) -> int:
    """Return the edits between two words, swaps of neighbours included (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for at, letter in enumerate(one):
        row = [at + 1]
        for place, known in enumerate(other):
            edits = min(last[place + 1] + 1, row[place] + 1, last[place] + (letter != known))
            if at and place and letter == other[place - 1] and one[at - 1] == known:
                edits = min(edits, before[place - 1] + 1)
            row.append(edits)
        before, last = last, row
    return last[-1]
