"""Translation of a row filter into a polars expression or a filter of Lance."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, assert_never

import numpy as np
import polars as pl

from noduleclip.errors import UsageError
from noduleclip.io.index.base import explain_missing
from noduleclip.io.index.conditions import (
    Comparison,
    Condition,
    Junction,
    Leaf,
    Match,
    Membership,
    Not,
    Null,
    Operator,
    Value,
    list_leaves,
    shorten,
)

_Combined = TypeVar("_Combined")
_LARGEST_FLOAT32 = 3.4e38

_FUNCTIONS: dict[Operator, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def build_expression(condition: Condition, dtypes: Mapping[str, pl.DataType]) -> pl.Expr:
    """Translate a condition into a polars expression, which is true, false or null for each row.

    Args:
        condition: The condition.
        dtypes: Data type of each column.

    Raises:
        UsageError: A column does not exist, or is compared with a literal of another kind.
    """
    check_condition(condition, dtypes)
    return _translate(_round_values(condition, dtypes))


def check_condition(condition: Condition, dtypes: Mapping[str, pl.DataType]) -> None:
    """Check that each column exists and is compared with literals of its kind.

    Raises:
        UsageError: Names the column and what it holds.
    """
    for leaf in list_leaves(condition):
        name, dtype = leaf.column, dtypes.get(leaf.column)
        if dtype is None or name == "*" or (name.startswith("^") and name.endswith("$")):  # polars: patterns of names
            raise UsageError(f"--where: {explain_missing(shorten(name), dtypes)}")
        if isinstance(leaf, Null):
            continue
        if not (dtype.is_numeric() or dtype == pl.String()):
            raise UsageError(f"--where: column {name} holds {dtype}; a condition compares columns of numbers or texts")
        if isinstance(leaf, Match):
            values: tuple[Value, ...] = (leaf.pattern,)
        else:
            values = leaf.values if isinstance(leaf, Membership) else (leaf.value,)
        for value in values:
            if isinstance(value, str) and dtype != pl.String():
                raise UsageError(
                    f"--where: column {name} holds numbers, but is compared with the text '{shorten(value)}'"
                )
            if not isinstance(value, str) and dtype == pl.String():
                raise UsageError(
                    f"--where: column {name} holds texts, but is compared with {value}; write '{value}' in quotes"
                )


def build_lance_filter(condition: Condition, dtypes: Mapping[str, pl.DataType]) -> str | None:
    """Translate a condition into a filter for Lance, which selects the same rows as `build_expression`.

    The filter is built from the tree: names of plain columns, numbers, and texts without quotes, backslashes or control
    characters. Everything else is left to polars.

    Args:
        condition: A condition that `check_condition` accepts.
        dtypes: Data type of each column that Lance stores under its own name.

    Returns:
        The filter; None where Lance might select other rows.
    """
    leaves = list_leaves(condition)
    if any(isinstance(leaf, Membership) for leaf in leaves) and _contains_not(condition):
        return None  # Lance evaluates NOT (x IN (1) AND x IN (2)) as true
    if not all(leaf.column in dtypes and _is_lance_leaf(leaf, dtypes[leaf.column]) for leaf in leaves):
        return None
    return _render(_round_values(condition, dtypes))


def _round_values(condition: Condition, dtypes: Mapping[str, pl.DataType]) -> Condition:
    """Round numbers that are compared with float32 columns as the columns were: `>= 7.2` selects a stored 7.2."""

    def round_one(value: Value) -> Value:
        is_fraction = isinstance(value, float) and abs(value) <= _LARGEST_FLOAT32
        return float(np.float32(value)) if is_fraction else value

    match condition:
        case Comparison(column, symbol, value) if dtypes[column] == pl.Float32():
            return Comparison(column, symbol, round_one(value))
        case Membership(column, values) if dtypes[column] == pl.Float32():
            return Membership(column, tuple(map(round_one, values)))
        case Not(operand):
            return Not(_round_values(operand, dtypes))
        case Junction(word, operands):
            return Junction(word, tuple(_round_values(operand, dtypes) for operand in operands))
        case other:
            return other


def _contains_not(condition: Condition) -> bool:
    return isinstance(condition, Not) or (
        isinstance(condition, Junction) and any(map(_contains_not, condition.operands))
    )


def _translate(condition: Condition) -> pl.Expr:
    match condition:
        case Comparison(column, symbol, value):
            dtype = pl.String if isinstance(value, str) else pl.Int64 if isinstance(value, int) else pl.Float64
            expression: pl.Expr = _FUNCTIONS[symbol](pl.col(column), pl.lit(value, dtype=dtype))
            return expression
        case Membership(column, values):
            if isinstance(values[0], str):
                return pl.col(column).is_in(list(values))
            return pl.col(column).cast(pl.Float64).is_in([float(value) for value in values])
        case Match(column, pattern, ignores_case):
            return pl.col(column).str.contains(_build_regex(pattern, ignores_case))
        case Null(column):
            return pl.col(column).is_null()
        case Not(operand):
            return ~_translate(operand)
        case Junction(word, operands):
            function = operator.and_ if word == "AND" else operator.or_
            return _combine(function, [_translate(operand) for operand in operands])
        case other:
            assert_never(other)


def _combine(function: Callable[[_Combined, _Combined], _Combined], parts: list[_Combined]) -> _Combined:
    """Combine parts pairwise, so that the depth of the result grows with the logarithm of their number."""
    while len(parts) > 1:
        pairs = [function(one, other) for one, other in zip(parts[::2], parts[1::2], strict=False)]
        parts = pairs + parts[len(parts) - len(parts) % 2 :]
    return parts[0]


def _build_regex(pattern: str, ignores_case: bool) -> str:
    wildcards = {"%": ".*", "_": "."}
    parts = [wildcards.get(part) or re.escape(part) for part in re.split(r"([%_])", re.sub("%+", "%", pattern)) if part]
    return rf"(?s{'i' if ignores_case else ''})\A{''.join(parts)}\z"


def _is_lance_leaf(leaf: Leaf, dtype: pl.DataType) -> bool:
    """Return whether Lance evaluates a comparison as polars does."""
    if not re.fullmatch(r"[A-Za-z]\w*", leaf.column, re.ASCII) or isinstance(leaf, Match):
        return False
    if isinstance(leaf, Null):
        return True
    values = leaf.values if isinstance(leaf, Membership) else (leaf.value,)
    if dtype == pl.String():
        return all(isinstance(value, str) and re.fullmatch(r"[^'\"`\\\x00-\x1f\x7f-\x9f]*", value) for value in values)
    if dtype.is_integer():  # Lance refuses to compare an integer with a fraction, or with a value outside its range
        whole = pl.Series(values, dtype=pl.Int64) if all(isinstance(value, int) for value in values) else None
        return whole is not None and whole.cast(dtype, strict=False).null_count() == 0
    return dtype.is_float()


def _render(condition: Condition) -> str:
    match condition:
        case Comparison(column, symbol, value):
            return f"`{column}` {symbol} {_render_value(value)}"
        case Membership(column, values):
            return f"`{column}` IN ({', '.join(map(_render_value, values))})"
        case Null(column):
            return f"`{column}` IS NULL"
        case Not(operand):
            return f"NOT ({_render(operand)})"
        case Junction(word, operands):
            return _combine(lambda one, other: f"({one} {word} {other})", [_render(operand) for operand in operands])
        case Match():
            raise ValueError("LIKE is not rendered")
        case other:
            assert_never(other)


def _render_value(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)
