"""Negations: each is moved directly before the statement that it applies to, or the sentence refused.

"no evidence of nodules larger than 6 mm" becomes "evidence of nodules not larger than 6 mm". A negation whose
statement cannot be told is an error: a negated statement is never read as its opposite.
"""

from collections.abc import Sequence
from typing import NamedTuple

from noduleclip.errors import SizeLanguageError
from noduleclip.language.context_words import CLAUSE_ENDS, NODULES, SENTENCE_ENDS
from noduleclip.language.negation_forms import RATED_NOUNS, distribute, merge_phrases
from noduleclip.language.rating_scale import ATTRIBUTES
from noduleclip.language.rating_words import LONGEST_PHRASE, PHRASES, names_other
from noduleclip.language.size_grammar import Cursor
from noduleclip.language.size_tokens import Token
from noduleclip.language.size_words import GLOSSARY
from noduleclip.language.words import AFTER_NOT, COMPARATORS, NOT, split_words

_NOT = Token("word", "not", "not")
_FILLERS = AFTER_NOT | split_words(
    "of for evidence sign signs indication indications suggestion presence further other additional new definite"
    " discrete focal identifiable visible significant appreciable pulmonary lung lungs individual single measurable"
    " there that such seen finding findings intrapulmonary parenchymal to show shows demonstrate demonstrates is are"
    " known residual which that who want show include everything anything need like"
    " measuring measure measures diameter diameters size"
)
_NOUNS = NODULES | GLOSSARY | split_words("masses them nodule's")
_ADVERBS = split_words("non not cannot")
"""Negations that apply to the next word; all others apply to the noun and what is said of it."""
_COMPARING = {phrase[0] for phrase in COMPARATORS}
_CHANGE = split_words("change changes growth")
_CHANGE_FILLERS = split_words("significant interval appreciable definite substantial relevant further")
_GENERIC = split_words(
    "nodule nodules nodule's lesion lesions opacity opacities nodularity density densities finding findings focus foci"
    " abnormality abnormalities one ones those them micronodule"
)
"""Nouns that a negation and a size are on, even with a comma between; others are things of their own."""
_NEW_CLAUSE = split_words(", : (")
_CLAUSE_ENDS = CLAUSE_ENDS | SENTENCE_ENDS
_MODALS = split_words("may might can could need must")
_JOINTS = split_words("and or but nor with")
_BEFORE_NOUN = split_words("a an the one with has")
_PRONOUNS = split_words("one ones those them")
_BETWEEN_NOUNS = split_words("and with who has have having whose plus")
_ABSENT = split_words(
    "absent excluded resolved denied disappeared ignored discarded omitted skipped removed dropped hidden gone vanished"
)


class _Criterion(NamedTuple):
    """Where a statement on size or ratings stands."""

    start: int
    end: int


def attach_negations(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with each negation directly before the statement that it negates.

    Raises:
        SizeLanguageError: It may apply to several statements, or its words are not understood.
    """
    merged = merge_phrases(tokens)
    if not any(token.text in NOT or token.text in _ABSENT for token in merged):
        return merged
    merged = distribute(merged)
    at = 0
    while at < len(merged):
        if merged[at].text in NOT:
            merged, at = _attach(merged, at)
        else:
            at += 1
    _refuse_denials(merged)
    return merged


def find_criterion(tokens: Sequence[Token], at: int) -> int:
    """Return where the statement on size or ratings that starts at a token ends; 0 where none starts."""
    if tokens[at].text in NOT:
        return 0
    cursor = Cursor(tokens)
    cursor.at = at
    if cursor.take_phrase() is not None:
        return cursor.at
    words: list[str] = []
    ends: list[int] = []
    for index in range(at, len(tokens)):
        if tokens[index].kind != "symbol":
            words.append(tokens[index].spoken)
            ends.append(index + 1)
        elif tokens[index].text != "-":
            break
        if len(words) == LONGEST_PHRASE:
            break
    for length in range(len(words), 0, -1):
        if tuple(words[:length]) in PHRASES and tokens[at].kind != "symbol":
            end = ends[length - 1]
            before, after = (
                [token.text for token in part] for part in (tokens[max(0, at - 2) : at], tokens[end : end + 3])
            )
            return 0 if names_other(before, words[:length], after) else end
    return at + 1 if tokens[at].text in ATTRIBUTES else 0


def _attach(tokens: list[Token], at: int) -> tuple[list[Token], int]:
    """Attach the negation at a token; return the tokens and where to go on."""
    negation = tokens[at]
    if negation.text in _ADVERBS and _is_choice(tokens, at):
        raise SizeLanguageError(f"{_quote(tokens[max(0, at - 3) : at + 3])}: both are allowed; leave it out")
    dropped = _skip_unchanged(tokens, at)
    if dropped > at:
        return [*tokens[:at], *tokens[dropped:]], at
    after = _skip(tokens, at + 1, AFTER_NOT)
    if after < len(tokens) and (end := find_criterion(tokens, after)):
        is_compound = end < len(tokens) and tokens[end].text in RATED_NOUNS | {"malignancy"}
        if is_compound and negation.text != "non":  # "no sharp calcification"
            raise SizeLanguageError(
                f"{_quote(tokens[at : end + 1])}: the negation can be read two ways; say one rating"
            )
        is_adverb = negation.text in _ADVERBS and tokens[at + 1].text not in ("a", "an", "any")
        if is_adverb or tokens[after].text in _COMPARING:
            return tokens, end
    first = _skip(tokens, at + 1, _FILLERS)
    if first == len(tokens):
        return tokens, first
    criterion = find_criterion(tokens, first)
    noun = _find_noun(tokens, first)
    if criterion and (noun < 0 or _ends_with_noun(tokens, criterion)):
        moved = [*tokens[:at], *tokens[at + 1 : first], _NOT, *tokens[first:]]
        return (tokens if first == after else moved), criterion
    if noun < 0:
        return tokens, at + 1
    found = _find_criteria(tokens, first, noun)
    is_unclear = len(found) > 1 or (bool(found) and _has_other_object(tokens, noun, found[0].start))
    if is_unclear or any(token.text in NOT for token in tokens[first : found[0].end if found else first]):
        quoted = _quote(tokens[at : max(noun + 1, found[-1].end)])
        raise SizeLanguageError(f"{quoted}: the negation can be read two ways; say one range or rating without it")
    if not found:
        is_mass = (
            tokens[noun].text in GLOSSARY | {"masses"}
            and noun + 1 < len(tokens)
            and tokens[noun + 1].text in _NEW_CLAUSE
        )
        return ([*tokens[:at], *tokens[noun + 1 :]], at) if is_mass else (tokens, noun + 1)  # "no mass, nodule > 8 mm"
    start, end = found[0]
    if start == after:
        return tokens, max(end, noun + 1)
    return [*tokens[:at], *tokens[at + 1 : start], _NOT, *tokens[start:]], max(end, noun + 1)


def _is_choice(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a negation is the second half of "may or may not", "whether or not"."""
    before = tuple(token.text for token in tokens[max(0, at - 2) : at])
    return before == ("whether", "or") or (before[:1] == ("or",) and before[-1] in _MODALS)


def _skip_unchanged(tokens: Sequence[Token], at: int) -> int:
    """Return where "without change in size" ends, which denies nothing of the nodule; `at` where it does not stand."""
    end = _skip(tokens, at + 1, _CHANGE_FILLERS)
    if end == len(tokens) or tokens[end].text not in _CHANGE:
        return at
    end = _skip(tokens, end + 1, split_words("in of size diameter the a an"))
    if end < len(tokens) and tokens[end].kind == "number":
        criterion = find_criterion(tokens, end)
        return end if criterion and criterion < len(tokens) and _find_noun(tokens, criterion) >= 0 else at
    return at if end < len(tokens) and find_criterion(tokens, end) else end


def _ends_with_noun(tokens: Sequence[Token], end: int) -> bool:
    """Return whether a clause ends behind a rated noun, which a negation then applies to: "no calcification, 8 mm"."""
    return tokens[end - 1].text in RATED_NOUNS and end < len(tokens) and tokens[end].text in _CLAUSE_ENDS


def _find_noun(tokens: Sequence[Token], at: int) -> int:
    """Return where the noun stands that a negation before adjectives applies to; -1 where it is no nodule."""
    for index in range(at, min(at + 12, len(tokens))):
        if tokens[index].text in _NOUNS:
            return index
        end = find_criterion(tokens, index)
        is_adjective = end or tokens[index].text in _FILLERS or tokens[index].text in ("-", ",", "or", "and")
        if not (is_adjective or _is_inside(tokens, at, index)):
            return -1
    return -1


def _is_inside(tokens: Sequence[Token], start: int, index: int) -> bool:
    """Return whether a token belongs to a statement that begins between two places."""
    return any(find_criterion(tokens, at) > index for at in range(start, index))


def _find_criteria(tokens: Sequence[Token], first: int, noun: int) -> list[_Criterion]:
    """Return the statements on what a negation denies: before its noun, and behind it up to the clause's end."""
    found: list[_Criterion] = []
    at = first
    while at < len(tokens):
        if at > noun and tokens[at].text in SENTENCE_ENDS:
            break
        if at > noun and ((found and tokens[at].text == ",") or _starts_anew(tokens, at)):
            break
        end = find_criterion(tokens, at)
        is_noun = tokens[at].text in GLOSSARY or tokens[at].text == "masses"
        if end and (not is_noun or (at == noun and _stands_alone(tokens, first, at))):
            found.append(_Criterion(at, end))
        at = max(end, at + 1)
    return found


def _stands_alone(tokens: Sequence[Token], first: int, at: int) -> bool:
    """Return whether "mass" is all that is denied: "no mass", not "no nodule or mass", not "no mass > 5 cm"."""
    is_first = not any(token.text in NODULES for token in tokens[first:at])
    return is_first and not any(find_criterion(tokens, later) for later in range(at + 1, len(tokens)))


def _starts_anew(tokens: Sequence[Token], at: int) -> bool:
    """Return whether a clause on a nodule of its own starts here: ", 8 mm nodule", "and a nodule > 8 mm"."""
    if tokens[at].text not in _NEW_CLAUSE and not _has_article(tokens, at):
        return False
    index = _skip(tokens, at + 1, _BEFORE_NOUN)
    has_noun = has_criterion = False
    while index < len(tokens) and tokens[index].text not in {*CLAUSE_ENDS, *SENTENCE_ENDS, "or"}:
        end = find_criterion(tokens, index)
        is_noun = tokens[index].text in _NOUNS - _PRONOUNS
        has_noun, has_criterion = has_noun or is_noun, has_criterion or (bool(end) and not is_noun)
        if not (end or is_noun or has_noun or tokens[index].text in _FILLERS or tokens[index].text == "-"):
            return False
        index = max(end, index + 1)
    return has_noun and has_criterion


def _has_article(tokens: Sequence[Token], at: int) -> bool:
    """Return whether "and a" stands here: what follows is one thing that is there."""
    return tokens[at].text in ("and", "plus") and at + 1 < len(tokens) and tokens[at + 1].text in ("a", "an")


def _has_other_object(tokens: Sequence[Token], noun: int, start: int) -> bool:
    """Return whether a statement may be on another thing than a negation: "no cancer and nodules > 8 mm"."""
    between = [token.text for token in tokens[noun + 1 : start]]
    if tokens[noun].text not in _GENERIC:
        if start < noun:  # "no suspicious mass, 6 mm nodule"
            return any(_starts_anew(tokens, at) for at in range(noun + 1, len(tokens)))
        if _NEW_CLAUSE.intersection(between) and "or" not in between:
            return True
    return any(
        text in _BETWEEN_NOUNS and (_NOUNS - _PRONOUNS).intersection(between[at + 1 :])
        for at, text in enumerate(between)
    )


def _refuse_denials(tokens: Sequence[Token]) -> None:
    """Refuse a negation that is left and may deny a statement of its clause: "> 6 mm: none", "8 mm is not seen"."""
    criteria: list[_Criterion] = []
    at = 0
    while at < len(tokens):
        is_negation = tokens[at].text in NOT
        end = find_criterion(tokens, at + 1) if is_negation and at + 1 < len(tokens) else find_criterion(tokens, at)
        if is_negation and not end:
            after = _skip(tokens, at + 1, AFTER_NOT)
            end = find_criterion(tokens, after) if after < len(tokens) else 0
        if end:
            criteria.append(_Criterion(at, end))
        elif is_negation or tokens[at].text in _ABSENT:
            _refuse_denial(tokens, at, criteria)
        at = max(end, at + 1)


def _refuse_denial(tokens: Sequence[Token], at: int, criteria: Sequence[_Criterion]) -> None:
    start = next((i + 1 for i in range(at - 1, -1, -1) if tokens[i].text in CLAUSE_ENDS or tokens[i].text == "."), 0)
    before = [one for one in criteria if one.end > start]
    is_last = at + 1 == len(tokens) or tokens[at + 1].text in (*SENTENCE_ENDS, ",", ")")
    denies = tokens[at].text in _ABSENT or tokens[at].text in ("not", "cannot", "never") or is_last
    if denies and before:
        quoted = _quote(tokens[before[-1].start : at + 1])
        raise SizeLanguageError(f"{quoted}: the negation is not understood; put 'not' directly before what it denies")
    if tokens[at].text in _ABSENT:
        return
    index = at + 1
    while index < len(tokens) and tokens[index].text not in CLAUSE_ENDS and tokens[index].text not in SENTENCE_ENDS:
        has_own_negation = tokens[index].text in NOT and tokens[index - 1].text in _JOINTS
        if has_own_negation or (_has_article(tokens, index) and _starts_anew(tokens, index)):
            return
        if end := find_criterion(tokens, index):
            quoted = _quote(tokens[at:end])
            raise SizeLanguageError(
                f"{quoted}: the negation is not understood; put 'not' directly before what it denies"
            )
        index += 1


def _skip(tokens: Sequence[Token], at: int, words: frozenset[str]) -> int:
    while at < len(tokens) and tokens[at].text in words:
        at += 1
    return at


def _quote(tokens: Sequence[Token]) -> str:
    return repr(" ".join(token.spoken for token in tokens))
