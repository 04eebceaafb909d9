"""Several statements on size in one sentence: which of them unite, and what all of them together leave."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from noduleclip.errors import SizeLanguageError
from noduleclip.language.size_interval import SizeInterval, intersect, unite
from noduleclip.language.size_phrase import Phrase

Join = Literal["", "and", "or"]


class Statement(NamedTuple):
    """One phrase in its sentence.

    Attributes:
        join: What joins it to the statement before it; "" for a comma or other words.
        phrase: The words.
        interval: The diameters that they ask for.
    """

    join: Join
    phrase: Phrase
    interval: SizeInterval


def intersects_all(interval: SizeInterval, statements: Sequence[Statement]) -> bool:
    """Return whether an interval shares a diameter with each statement."""
    return all(intersect(interval, one.interval) is not None for one in statements)


def combine_statements(statements: Sequence[Statement]) -> SizeInterval | None:
    """Unite what "or" joins, then intersect the rest; None without a statement.

    Raises:
        SizeLanguageError: They contradict each other, leave a gap, or "and" and "or" could be read two ways.
    """
    if len(statements) < 2:
        return statements[0].interval if statements else None
    for clause in _split(statements, "and", "or"):
        if {"and", "or"} <= {s.join for s in clause[1:]}:
            _refuse_two_readings(clause)
    return _intersect_unions(statements)


def _split(statements: Sequence[Statement], *inner: Join) -> list[list[Statement]]:
    """Cut before every statement whose join is not one of `inner`."""
    parts: list[list[Statement]] = []
    for statement in statements:
        if parts and statement.join in inner:
            parts[-1].append(statement)
        else:
            parts.append([statement])
    return parts


def _intersect_unions(statements: Sequence[Statement]) -> SizeInterval:
    unions = _split(statements, "or")
    interval = _unite(unions[0])
    for at, union in enumerate(unions[1:], start=1):
        newest = _unite(union)
        both = intersect(interval, newest)
        two_exact = _is_exact(union) and any(_is_exact(u) and _unite(u) != newest for u in unions[:at])
        if both is None or two_exact:
            earlier = " and ".join(map(_quote, unions[:at]))
            raise SizeLanguageError(
                f"{earlier!r} is {interval} and {_quote(union)!r} is {newest}: these contradict each other; keep one"
            )
        interval = both
    return interval


def _unite(union: Sequence[Statement]) -> SizeInterval:
    if any(one.phrase.negated and not other.phrase.negated for one, other in pairwise(union)):
        raise SizeLanguageError(
            f"{_quote(union)!r}: 'not' before sizes joined by 'or' can be read two ways; say one range without it"
        )
    interval = unite(s.interval for s in union)
    if interval is None:
        quoted = " and ".join(f"{s.phrase.text!r} is {s.interval}" for s in union)
        raise SizeLanguageError(f"{quoted}: sizes joined by 'or' leave a gap, which is no single range; ask for one")
    return interval


def _refuse_two_readings(clause: Sequence[Statement]) -> None:
    """Refuse "small and > 3 mm or 6-10 mm", which depends on whether "and" or "or" goes first."""
    alternatives: list[SizeInterval] = []
    for part in _split(clause, "and"):
        interval: SizeInterval | None = part[0].interval
        for statement in part[1:]:
            interval = interval and intersect(interval, statement.interval)
        if interval is not None:
            alternatives.append(interval)
    if not alternatives or unite(alternatives) != _intersect_unions(clause):
        quoted = " ".join(f"{s.join if at else ''} {s.phrase.text}".strip() for at, s in enumerate(clause))
        raise SizeLanguageError(f"{quoted!r} mixes 'and' with 'or' and can be read two ways; say one range")


def _is_exact(union: Sequence[Statement]) -> bool:
    return all(s.phrase.operator == "=" for s in union)


def _quote(union: Sequence[Statement]) -> str:
    return " or ".join(s.phrase.text for s in union)
