"""One statement on size as the grammar finds it: an operator and the numbers that it applies to, with their units."""

from typing import NamedTuple

from noduleclip.language.size_words import UNITS, VOLUMES


class Quantity(NamedTuple):
    """One number, or the two or three of "5 x 7 mm", each with its unit or ""."""

    axes: tuple[tuple[str, str], ...]

    @property
    def unit(self) -> str:
        """The last unit, or ""."""
        return next((unit for _, unit in reversed(self.axes) if unit), "")


class Phrase(NamedTuple):
    """One statement on size.

    Attributes:
        operator: A comparison, "=", "±", "range", "inclusive range", a key of `BRACKETS` or of `NAMED_SIZES`.
        quantities: What the operator applies to: none for a named size, one for "[6, inf)".
        start: Index of the first token.
        end: Index after the last token.
        negated: Whether "not" stands before it.
        text: The phrase in the words of the sentence.
    """

    operator: str
    quantities: tuple[Quantity, ...]
    start: int
    end: int
    negated: bool
    text: str

    @property
    def has_unit(self) -> bool:
        """Whether any quantity has a unit."""
        return any(quantity.unit for quantity in self.quantities)

    @property
    def unit(self) -> str:
        """The last unit, or ""."""
        return next((quantity.unit for quantity in reversed(self.quantities) if quantity.unit), "")

    def with_unit(self, unit: str) -> "Phrase":
        """Return the phrase with a unit for the numbers that have none."""
        quantities = (Quantity(tuple((number, own or unit) for number, own in q.axes)) for q in self.quantities)
        return self._replace(quantities=tuple(quantities))

    @property
    def is_volume(self) -> bool:
        """Whether the numbers are volumes."""
        return any(UNITS.get(quantity.unit) in VOLUMES for quantity in self.quantities)

    @property
    def is_exact(self) -> bool:
        """Whether it is one number without a comparison."""
        return self.operator == "="
