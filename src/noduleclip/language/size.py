"""From a sentence to the one interval of diameters it asks for, the words that are left, and notes."""

from collections.abc import Sequence
from dataclasses import dataclass

from noduleclip.errors import SizeLanguageError
from noduleclip.language.context_words import ATTRIBUTES
from noduleclip.language.negation import attach_negations
from noduleclip.language.neighbours import refuse_unknown_after, refuse_unknown_before
from noduleclip.language.numbers import read_numbers
from noduleclip.language.size_context import PLAIN, Place, find_measured
from noduleclip.language.size_grammar import Cursor
from noduleclip.language.size_interval import SizeInterval, format_number
from noduleclip.language.size_meaning import make_interval, read_values_mm
from noduleclip.language.size_phrase import Phrase
from noduleclip.language.size_statements import Join, Statement, combine_statements, intersects_all
from noduleclip.language.size_tokens import Token, tokenise
from noduleclip.language.size_words import (
    AFTER_NAMED,
    AFTER_OR,
    BRACKETS,
    COMPARING,
    GLOSSARY,
    JOINING,
    MIRRORED,
    NAMED_SIZES,
    UNITS,
)


@dataclass(frozen=True)
class ParsedSize:
    """The size in a sentence, and its other words.

    Attributes:
        interval: The diameters asked for, None where the sentence has no size.
        words: The other words and numbers in lower case and in order, without punctuation.
        notes: What was read in a way that may surprise, or ignored.
    """

    interval: SizeInterval | None
    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


def parse_size(text: str) -> ParsedSize:
    """Read the size in a sentence: sizes joined by "or" unite, all others intersect.

    Raises:
        SizeLanguageError: The sentence is empty or too long, has an unreadable or impossible number,
            contradicts itself, asks for sizes with a gap between them, or is not understood beside a number.
    """
    return _Parser(attach_negations(read_numbers(tokenise(text)))).parse()


def parse_interval(text: str) -> SizeInterval | None:
    """Read the size in a sentence, None where it has none; raises as `parse_size` does."""
    return parse_size(text).interval


def parse_intervals(sentences: Sequence[str]) -> list[SizeInterval]:
    """Read the sizes of sentences that each have one; raises as `parse_size` does.

    Raises:
        ValueError: A sentence has no size.
    """
    intervals: list[SizeInterval] = []
    for sentence in sentences:
        interval = parse_interval(sentence)
        if interval is None:
            raise ValueError(f"{sentence!r} has no size")
        intervals.append(interval)
    return intervals


_LIMITS = JOINING - {"to"}
"""Words that make a limit of the size behind them: "until 8 mm"."""


class _Parser:
    """Sorts the phrases of a sentence into statements on the diameter, other measurements, and words."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.cursor = Cursor(tokens)
        self.words: list[str] = []
        self.notes: list[str] = []
        self.statements: list[Statement] = []
        self.end = 0
        """Where the last phrase with a number ended."""
        self.other = PLAIN
        """What that phrase measured."""

    def parse(self) -> ParsedSize:
        tokens = self.cursor.tokens
        while self.cursor.at < len(tokens):
            phrase = self.cursor.take_phrase()
            if phrase is None:
                self._keep(tokens[self.cursor.at : self.cursor.at + 1])
                self.cursor.at += 1
                continue
            place = Place(tokens, phrase, self.end, self.other)
            measured = find_measured(place)
            if measured == PLAIN:
                self._add_statement(place)
            else:
                self._add_other(phrase, measured)
            if phrase.quantities or measured == PLAIN:
                self.other, self.end = measured, phrase.end
        interval = combine_statements(self._select())
        return ParsedSize(interval, tuple(self.words), tuple(dict.fromkeys(self.notes)))

    def _keep(self, tokens: Sequence[Token], kept: frozenset[str] = frozenset()) -> None:
        self.words += _list_words(tokens, kept)

    def _add_other(self, phrase: Phrase, measured: str) -> None:
        if phrase.has_unit:
            self.notes.append(f"{phrase.text[:60]!r} is {measured}, not the diameter: ignored")
        else:
            self._keep(self.cursor.tokens[phrase.start : phrase.end], frozenset((*MIRRORED, "+")))

    def _add_statement(self, place: Place) -> None:
        tokens, phrase = place.tokens, place.phrase
        last = self.statements[-1] if self.statements and self.other == PLAIN else None
        gap = [t for t in tokens[self.end : phrase.start] if t.kind != "symbol"]
        join, joint = _find_join(gap if last else ())
        if not join:
            _refuse_list(gap, phrase)
        if last and phrase.has_unit != last.phrase.has_unit and {phrase.operator, last.phrase.operator} <= {*MIRRORED}:
            phrase = self._share_unit(last, phrase)
        interval = make_interval(phrase)
        refuse_unknown_before(place)
        _refuse_half_read(tokens, phrase, last)
        between = tokens[self.end : phrase.start]
        others = [t for t in between if not any(t is part for part in joint)]
        self.words[len(self.words) - len(_list_words(between)) :] = _list_words(others)
        self.words += [t.spoken for t in tokens[phrase.start : phrase.end] if t.text == "diameter"]
        refuse_unknown_after(place)
        is_other_kind = last is not None and last.phrase.is_volume != phrase.is_volume
        is_repeat = is_other_kind and bool({t.text for t in between} & {"(", "/", "or", ","})
        if is_repeat and phrase.is_volume:
            self.notes.append(f"{phrase.text[:60]!r} repeats the size as a volume: ignored")
            return
        if is_repeat:
            self.statements.pop()
            self.notes[-1:] = [f"{last.phrase.text[:60]!r} repeats the size as a volume: ignored"] if last else []
            join = ""
        elif phrase.is_volume:
            self.notes.append(
                f"{phrase.text[:60]!r} is read as the sphere of equal volume, {_write_diameters(phrase)} mm"
            )
        self.statements.append(Statement(join, phrase, interval))

    def _share_unit(self, last: Statement, phrase: Phrase) -> Phrase:
        """Return the phrase with the unit of the last one, or give the last one its unit: "over 2 but under 3 cm"."""
        unit = last.phrase.unit or phrase.unit
        if UNITS[unit] != "cm":
            return phrase  # a number without a unit is in millimetres
        if phrase.unit:
            whole = last.phrase.with_unit(unit)
            self.statements[-1] = last._replace(phrase=whole, interval=make_interval(whole))
        return phrase.with_unit(unit)

    def _select(self) -> list[Statement]:
        """Return the statements that count: a measured size goes before the size that a noun implies."""
        if {"min", "max"} <= {one.phrase.text[:3] for one in self.statements}:
            self.statements = [_read_as_limit(one) for one in self.statements]
        measured = [one for one in self.statements if one.phrase.operator not in GLOSSARY]
        if not measured:
            return self.statements
        for one in self.statements:
            if one.phrase.operator in GLOSSARY and not intersects_all(one.interval, measured):
                self.notes.append(f"{one.phrase.text!r} is {one.interval} by definition: the size stated is used")
                return measured
        return self.statements


def _list_words(tokens: Sequence[Token], kept: frozenset[str] = frozenset()) -> list[str]:
    """Return tokens as words, without symbols but for "%" and those in `kept`."""
    return [
        t.text if t.kind == "symbol" or t.text == "not" else t.spoken  # ">=" for "≥", "not" for "shouldn't"
        for t in tokens
        if t.kind != "symbol" or t.text in kept or t.text == "%"
    ]


def _read_as_limit(one: Statement) -> Statement:
    """Return "maximum diameter 18 mm" as a limit, which it is beside "minimum 4 mm"; alone it is the long axis."""
    if not (one.phrase.is_exact and one.phrase.text.startswith("max")):
        return one
    limit = one.phrase._replace(operator="<=")
    return one._replace(phrase=limit, interval=make_interval(limit))


def _write_diameters(phrase: Phrase) -> str:
    return " to ".join(format_number(value_mm) for value_mm in read_values_mm(phrase))


def _find_join(gap: Sequence[Token]) -> tuple[Join, Sequence[Token]]:
    """Return what joins a size to the one before it, and the words between them that do."""
    texts = [t.text for t in gap]
    if texts in (["and"], ["but"]):
        return "and", gap
    at = len(texts) - 1
    while at >= 0 and texts[at] in AFTER_OR:
        at -= 1
    if at < 0 or texts[at] != "or" or gap[max(0, at - 1)].kind == "number" or ATTRIBUTES.intersection(texts):
        return "", ()
    return "or", gap[at - (texts[max(0, at - 1)] == "and") : at + 1]


def _refuse_list(gap: Sequence[Token], phrase: Phrase) -> None:
    """Refuse a phrase that ends a list such as "6 or 8 mm"."""
    texts = [t.text for t in gap]
    ends_list = len(gap) > 1 and gap[-2].kind == "number" and texts[-1] in ("and", "or")
    is_amount = phrase.operator == "=" or phrase.operator.endswith("range") or phrase.operator in BRACKETS
    if ends_list and is_amount and not ATTRIBUTES.intersection(texts[-3:]):
        raise SizeLanguageError(
            f"'{' '.join(texts[-2:])} {phrase.text}' is not one size; write a range as 'between 6 and 10 mm'"
        )


def _refuse_half_read(tokens: Sequence[Token], phrase: Phrase, before: Statement | None) -> None:
    """Refuse a phrase that is one end of something not understood: "larger than small", "6 to not more than 10"."""
    earlier = [t.text for t in tokens[max(0, phrase.start - 2) : phrase.start]]
    later = [t.text for t in tokens[phrase.end : phrase.end + 3]]
    is_named = phrase.operator in NAMED_SIZES
    compared = (phrase.operator == "=" or is_named) and bool(earlier) and earlier[-1] in COMPARING | _LIMITS
    compared = compared or (phrase.operator == "=" and tokens[phrase.start].text == "from")
    compares = len(later) == 3 and (tokens[phrase.end + 2].kind == "number" or later[2] in COMPARING)
    follows = is_named and len(later) > 1 and later[0] in ("or", "and") and later[1] in AFTER_NAMED and not compares
    first = tokens[before.phrase.end].text if before is not None and before.phrase.end < phrase.start else ""
    has_number = len(earlier) == 2 and tokens[phrase.start - 2].kind == "number" and earlier[-1] in {*JOINING, "-"}
    runs_on = has_number or (before is not None and before.phrase.operator == "=" and first in JOINING)
    if compared or follows or runs_on:
        quoted = " ".join(t.spoken for t in tokens[max(0, phrase.start - 2) : phrase.end + 2 * follows])
        raise SizeLanguageError(
            f"{quoted!r} is only half understood; say it with numbers, such as '> 6 mm' or 'between 6 and 10 mm'"
        )
