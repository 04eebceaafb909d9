"""Grammar of sizes: parses tokens into phrases, each one statement on size. Millimetres follow in `size_meaning`."""

from collections.abc import Collection, Mapping, Sequence

from noduleclip.language.size_phrase import Phrase, Quantity
from noduleclip.language.size_tokens import Token
from noduleclip.language.size_words import (
    ADJECTIVES,
    AMOUNT_JOINTS,
    APPROXIMATELY,
    AXIS_ADJECTIVES,
    AXIS_LABELS,
    BEFORE_NUMBER,
    BETWEEN_JOINTS,
    BRACKETS,
    DIMENSIONS,
    INCLUSIVE,
    INFINITE,
    JOINTS,
    LONGEST_AXIS,
    LONGEST_PHRASE,
    MIRRORED,
    OPENINGS,
    SPREAD_JOINTS,
    STARTERS,
    SUFFIXES,
    UNITS,
)
from noduleclip.language.words import AFTER_NOT, COMPARATORS, NOT

_COMPARED_ENDS = {"<": "[)", "<=": "range"}
_COMPARED_RANGES = {(">=", "<"): "[)", (">=", "<="): "[]", (">", "<"): "()", (">", "<="): "(]"}


class Cursor:
    """A position in the tokens. Each `take` method moves past what it returns, or does not move."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def peek(self, offset: int = 0) -> str:
        """Return the text of a token counted from the cursor, "" outside the sentence."""
        index = self.at + offset
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def take(self, texts: Collection[str]) -> bool:
        """Move past one of some tokens; return whether it was there."""
        if self.peek() not in texts:
            return False
        self.at += 1
        return True

    def skip(self, texts: Collection[str]) -> None:
        """Move past all of some tokens."""
        while self.take(texts):
            pass

    def take_longest(self, meanings: Mapping[tuple[str, ...], str]) -> str:
        """Move past the longest of some phrases; return its meaning, "" where there is none."""
        ahead = tuple(token.text for token in self.tokens[self.at : self.at + LONGEST_PHRASE])
        for length in range(len(ahead), 0, -1):
            key = ahead[:length]
            if key in meanings:
                self.at += length
                return meanings[key]
        return ""

    def take_phrase(self) -> Phrase | None:
        """Take [not] (adjective | comparison number | range | number suffix | number unit | notation) from here."""
        if self.peek() not in STARTERS and not self._is_kind("number"):
            return None
        start = self.at
        negated = self.take(NOT)
        if negated:
            self.skip(AFTER_NOT)
        found = (
            self._take_adjective()
            or self._take_comparison()
            or self._take_amount(is_equation=False)
            or self._take_notation()
        )
        if found is None:
            self.at = start
            return None
        text = " ".join(token.spoken for token in self.tokens[start : self.at]).removeprefix(". ")
        return Phrase(*found, start, self.at, negated, text)

    def _take_adjective(self) -> tuple[str, tuple[Quantity, ...]] | None:
        name = self.take_longest(ADJECTIVES)
        self._take_after_hyphen(("size", "sized") if name else ())
        return (name, ()) if name else None

    def _take_comparison(self) -> tuple[str, tuple[Quantity, ...]] | None:
        start = self.at
        operator = self.take_longest(COMPARATORS)
        if not operator:
            return None
        is_symbol = self.tokens[start].kind == "symbol"
        after_operator = self.at
        if operator == "=" and (amount := self._take_amount(is_equation=True)):
            return amount
        self.skip(BEFORE_NUMBER)
        if quantity := self._take_quantity():
            if operator == "=":
                return operator, (quantity,)
            if compared := self._take_other_comparison(operator):
                return compared[0], (quantity, compared[1])
            end = self._take_range_end(JOINTS)
            return operator, (quantity, end) if end else (quantity,)
        self.at = after_operator if is_symbol and operator != "=" else start
        return (operator, ()) if self.at > start else None

    def _take_amount(self, *, is_equation: bool) -> tuple[str, tuple[Quantity, ...]] | None:
        start = self.at
        opening = self.take_longest(OPENINGS)
        self.skip(APPROXIMATELY)
        if quantity := self._take_quantity():
            joints = BETWEEN_JOINTS if opening else AMOUNT_JOINTS
            if compared := self._take_compared_end(joints):
                return compared[0], (quantity, compared[1])
            if end := self._take_range_end(joints):
                return "inclusive range" if self.take_longest(INCLUSIVE) else "range", (quantity, end)
            if opening == "between" and self.peek() == "and":
                return "range", (quantity,)
            if operator := self._take_suffix() or self._take_mirrored():
                return operator, (quantity,)
            if self.peek() == "±" and (spread := self._take_range_end(SPREAD_JOINTS)):
                return "±", (quantity, spread)
            if quantity.unit or is_equation:
                return "=", (quantity,)
        self.at = start
        return None

    def _take_notation(self) -> tuple[str, tuple[Quantity, ...]] | None:
        """Take "(6, 10] mm" or "[6, inf)"; "(6, 10)" and "[6, 10]" need a unit, or else they may be anything."""
        brackets = self.peek() + self.peek(4)
        is_infinite = self.peek(3) in INFINITE
        if not (
            brackets in BRACKETS
            and self._is_kind("number", 1)
            and self.peek(2) in (",", ";")
            and (is_infinite or self._is_kind("number", 3))
        ):
            return None
        start, numbers = self.at, [self.peek(offset) for offset in ((1,) if is_infinite else (1, 3))]
        self.at += 5
        unit = self._take_after_hyphen(UNITS)
        if not (unit or is_infinite or brackets in ("(]", "[)")):
            self.at = start
            return None
        return brackets, tuple(Quantity(((number, unit),)) for number in numbers)

    def _take_quantity(self) -> Quantity | None:
        axes: list[tuple[str, str]] = []
        while self._is_kind("number"):
            number = self.peek()
            self.at += 1
            unit = "" if self._is_label() else self._take_after_hyphen(UNITS)
            labelled = self._take_label()
            axes.append((number, unit or (self._take_after_hyphen(UNITS) if labelled else "")))
            labels = self.peek(1) in AXIS_LABELS  # "AP 2.5 x TR 1.8 cm"
            if not (self.peek() in ("×", "x", "by") and self._is_kind("number", 1 + labels)):
                break
            self.at += 1 + labels
        return Quantity(tuple(axes)) if axes else None

    def _is_label(self) -> bool:
        return self.peek() == "(" and self.peek(1) in AXIS_LABELS and self.peek(2) == ")"

    def _take_label(self) -> bool:
        """Take the axis of one of several numbers: "(AP)", or "AP" before "x"."""
        if self._is_label():
            self.at += 3
            return True
        if self.peek() in AXIS_LABELS and self.peek(1) in ("×", "x", "by"):
            self.at += 1
            return True
        return False

    def _take_range_end(self, joints: Mapping[tuple[str, ...], str]) -> Quantity | None:
        start = self.at
        end = None
        if self.take_longest(joints):
            self.skip(APPROXIMATELY)
            end = self._take_quantity()
        if end is None:
            self.at = start
        return end

    def _take_compared_end(self, joints: Mapping[tuple[str, ...], str]) -> tuple[str, Quantity] | None:
        """Take the end of "6 to < 10 mm" or "6 to <= 10 mm", and the kind of range that it makes."""
        start = self.at
        kind = _COMPARED_ENDS.get(self.take_longest(COMPARATORS), "") if self.take_longest(joints) else ""
        if kind:
            self.skip(BEFORE_NUMBER)
            if end := self._take_quantity():
                return kind, end
        self.at = start
        return None

    def _take_other_comparison(self, operator: str) -> tuple[str, Quantity] | None:
        """Take the end of ">= 6 to < 8 mm", and the kind of range that it makes."""
        start = self.at
        kind = ""
        if self.take_longest(AMOUNT_JOINTS):
            kind = _COMPARED_RANGES.get((operator, self.take_longest(COMPARATORS)), "")
        if kind:
            self.skip(BEFORE_NUMBER)
            if end := self._take_quantity():
                return kind, end
        self.at = start
        return None

    def _take_after_hyphen(self, texts: Collection[str]) -> str:
        offset = int(self.peek() == "-")
        text = self.peek(offset)
        if text not in texts:
            return ""
        self.at += offset + 1
        return text

    def _take_suffix(self) -> str:
        start = self.at
        operator = self.take_longest(SUFFIXES)
        if operator and (self.peek() in ("than", "then", "to") or self._is_kind("number")):
            self.at = start  # "6 mm and larger than 3 mm" holds two phrases
            return ""
        if operator and self._take_longest_axis(start):
            return "="
        return operator

    def _take_longest_axis(self, start: int) -> bool:
        """Take the rest of "maximum axial diameter" behind a number: it is the diameter, not a limit."""
        end = self.at
        if self.tokens[start].text in LONGEST_AXIS:
            self.skip(AXIS_ADJECTIVES)
            if self.take(DIMENSIONS):
                return True
        self.at = end
        return False

    def _take_mirrored(self) -> str:
        operator = self.peek()
        if operator not in MIRRORED or not self._is_kind("word", 1):
            return ""
        self.at += 1
        return MIRRORED[operator]

    def _is_kind(self, kind: str, offset: int = 0) -> bool:
        index = self.at + offset
        return index < len(self.tokens) and self.tokens[index].kind == kind
