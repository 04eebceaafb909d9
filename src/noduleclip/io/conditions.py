"""Conditions on rows that Lance's SQL reads as polars does.

They are comparisons of a column with literals, joined by AND, OR and NOT. All others are left to polars alone, so that
the same words never choose other rows in another store.
"""

import re
from collections.abc import Mapping, Sequence

import polars as pl

_TEXT = r"'(?:[^']|'')*'"
_NUMBER = r"-?\d+(?:\.\d+)?"
_LITERAL = rf"(?:{_TEXT}|{_NUMBER})"
_COMPARISON = re.compile(
    rf"(?P<name>[A-Za-z_]\w*)\s*(?P<rest>(?:=|!=|<>|<=|>=|<|>)\s*(?P<literal>{_LITERAL})(?![\w.])"
    rf"|BETWEEN\s+(?P<bounds>{_LITERAL}\s+AND\s+{_LITERAL})(?![\w.])"
    rf"|IN\s*\(\s*(?P<list>{_LITERAL}(?:\s*,\s*{_LITERAL})*)\s*\)|IS(?:\s+NOT)?\s+NULL\b)",
    re.IGNORECASE,
)
_JOINED = re.compile(r"(?:\s|[()]|\b(?:AND|OR)\b|\bNOT\s*(?=\x00)|\x00)*", re.IGNORECASE)
_IS_TEXT = re.compile(_TEXT)


def translate_condition(where: str, kinds: Mapping[str, pl.DataType]) -> str | None:
    """Give a condition in Lance's SQL.

    Args:
        where: A SQL condition as polars reads it.
        kinds: The columns.

    Returns:
        The same condition; None where Lance might read it otherwise, or polars would refuse it.
    """
    try:
        pl.sql_expr(where)
    except pl.exceptions.PolarsError:
        return None
    found = list(_COMPARISON.finditer(where))
    if "\x00" in where or not found or not _JOINED.fullmatch(_COMPARISON.sub("\x00", where)):
        return None
    negates = re.search(r"\bNOT\b", _COMPARISON.sub("\x00", where), re.IGNORECASE)
    if negates and any(comparison["list"] for comparison in found):  # Lance takes NOT (x IN (1) AND x IN (2)) for true
        return None
    if not all(_fits(comparison, kinds) for comparison in found):
        return None
    return _COMPARISON.sub(lambda comparison: f"`{comparison['name']}` {comparison['rest']}", where)


def _fits(comparison: re.Match[str], kinds: Mapping[str, pl.DataType]) -> bool:
    """Say whether a column is there and is compared with what it holds."""
    kind = kinds.get(comparison["name"])
    if kind is None:
        return False
    literals = re.findall(_LITERAL, comparison["literal"] or comparison["bounds"] or comparison["list"] or "")
    texts = [_IS_TEXT.fullmatch(literal) is not None for literal in literals]
    if kind.is_integer():  # Lance refuses to compare one with a fraction, or with what it cannot hold
        whole = all(re.fullmatch(r"-?\d+", literal) for literal in literals)
        return whole and pl.Series(literals, dtype=pl.String).cast(kind, strict=False).null_count() == 0
    return all(texts) if kind == pl.String() else kind.is_float() and not any(texts)


def list_condition(name: str, values: Sequence[str]) -> str:
    """Give the condition that a text column is one of some values."""
    return f"`{name}` IN ({', '.join(_quote(value) for value in values)})"


def _quote(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
