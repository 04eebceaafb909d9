"""The language of row filters, as in `--where "diameter_mm > 4 AND manufacturer LIKE 'GE%'"`.

A filter compares columns of an index with literals; AND, OR, NOT and brackets join comparisons. It is parsed by the
grammar below into a tree, which `condition_filters` translates for polars or Lance. No SQL engine reads the text, so a
filter can neither call a function nor read a file, and its result is one truth value a row.

A comparison with a missing value is neither true nor false, as in SQL: `NOT diameter_mm > 4` does not select rows
without a diameter; `diameter_mm IS NULL` does.
"""

import functools
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from noduleclip.errors import UsageError

MAX_CHARACTERS = 10_000
MAX_DEPTH = 32
MAX_PATTERN_CHARACTERS = 500
_SHOWN_CHARACTERS = 200

Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = str | int | float

_GRAMMAR = r"""
?start: disjunction
disjunction: conjunction (_OR conjunction)*
conjunction: _unit (_AND _unit)*
_unit: negation | predicate | "(" disjunction ")"
negation: _NOT (negation | predicate | "(" disjunction ")")
?predicate: column OPERATOR literal                                -> comparison
    | literal OPERATOR column                                      -> reversed_comparison
    | column _BETWEEN literal _AND literal                         -> between
    | column _NOT _BETWEEN literal _AND literal                    -> not_between
    | column _IN "(" literal ("," literal)* ")"                    -> membership
    | column _NOT _IN "(" literal ("," literal)* ")"               -> not_membership
    | column LIKE TEXT                                             -> match
    | column _NOT LIKE TEXT                                        -> not_match
    | column _IS _NULL                                             -> null
    | column _IS _NOT _NULL                                        -> not_null
column: NAME | QUOTED_NAME
literal: NUMBER | TEXT

OPERATOR: "==" | "=" | "!=" | "<>" | "<=" | ">=" | "<" | ">"
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?(?![\w.])/i
TEXT: /'([^']|'')*'/
QUOTED_NAME: /"([^"]|"")+"|`([^`]|``)+`/
NAME: /[^\W\d]\w*/
_OR.2: /or(?!\w)/i
_AND.2: /and(?!\w)/i
_NOT.2: /not(?!\w)/i
_BETWEEN.2: /between(?!\w)/i
_IN.2: /in(?!\w)/i
LIKE.2: /i?like(?!\w)/i
_IS.2: /is(?!\w)/i
_NULL.2: /null(?!\w)/i

%ignore /\s+/
"""
_SPELLINGS: dict[str, Operator] = {
    "=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip
_REVERSED: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Comparison:
    """`column operator value`."""

    column: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class Membership:
    """`column IN (values)`."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Match:
    """`column LIKE pattern`, where `%` stands for any characters and `_` for one; ILIKE ignores case."""

    column: str
    pattern: str
    ignores_case: bool


@dataclass(frozen=True)
class Null:
    """`column IS NULL`."""

    column: str


@dataclass(frozen=True)
class Not:
    """`NOT operand`."""

    operand: "Condition"


@dataclass(frozen=True)
class Junction:
    """Two or more operands joined by AND or by OR."""

    word: Literal["AND", "OR"]
    operands: tuple["Condition", ...]


Leaf = Comparison | Membership | Match | Null
Condition = Leaf | Not | Junction


def parse_condition(text: str) -> Condition:
    """Parse a row filter.

    Args:
        text: The filter, at most `MAX_CHARACTERS` long and `MAX_DEPTH` brackets and NOTs deep.

    Raises:
        UsageError: The text is not a filter. The message names the place that was not understood.
    """
    from lark.exceptions import UnexpectedInput

    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"--where: the condition has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed")
    if not text.isascii() and text != text.encode(errors="replace").decode():
        raise UsageError("--where: the condition holds bytes that are not UTF-8")
    try:
        return _build_condition(_load_parser().parse(text), depth=0)
    except UnexpectedInput as error:
        at_end = getattr(getattr(error, "token", None), "type", None) == "$END"
        position: int = len(text) if at_end else getattr(error, "pos_in_stream", None) or 0
        raise _describe_syntax_error(text, position) from None


def list_columns(condition: Condition) -> list[str]:
    """Return the names of the columns that a condition refers to, each once, in order."""
    return list(dict.fromkeys(leaf.column for leaf in list_leaves(condition)))


@functools.cache
def _load_parser() -> Any:
    from lark import Lark

    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False)


def _build_condition(tree: Any, depth: int) -> Condition:
    """Build a condition from the tree of the parser.

    Raises:
        UsageError: It is nested too deeply for the recursion here and in the translations.
    """
    if depth > MAX_DEPTH:
        raise UsageError(f"--where: the condition nests brackets and NOTs more than {MAX_DEPTH} deep")
    children = tree.children
    match tree.data:
        case "disjunction" | "conjunction":
            is_bracket = tree.data == "disjunction"
            operands = tuple(_build_condition(child, depth + is_bracket) for child in children)
            return operands[0] if len(operands) == 1 else Junction("OR" if is_bracket else "AND", operands)
        case "negation":
            return Not(_build_condition(children[0], depth + 1))
        case "reversed_comparison":
            value, spelling, column = children
            symbol = _read_operator(spelling)
            return Comparison(_read_column(column), _REVERSED.get(symbol, symbol), _read_literal(value))
    column = _read_column(children[0])
    positive: Condition
    match str(tree.data).removeprefix("not_"):
        case "comparison":
            positive = Comparison(column, _read_operator(children[1]), _read_literal(children[2]))
        case "between":
            low, high = map(_read_literal, children[1:])
            positive = Junction("AND", (Comparison(column, ">=", low), Comparison(column, "<=", high)))
        case "membership":
            positive = Membership(column, tuple(map(_read_literal, children[1:])))
        case "match":
            positive = Match(column, _read_pattern(children[2]), children[1].lower() == "ilike")
        case "null":
            positive = Null(column)
        case other:
            raise ValueError(f"no rule {other}")
    return Not(positive) if str(tree.data).startswith("not_") else positive


def _read_operator(token: str) -> Operator:
    return _SPELLINGS[token]


def _read_column(tree: Any) -> str:
    text = str(tree.children[0])
    return text[1:-1].replace(text[0] * 2, text[0]) if text[0] in '"`' else text


def _read_literal(tree: Any) -> Value:
    text = str(tree.children[0])
    return _unquote(text) if text.startswith("'") else _read_number(text)


def _read_number(text: str) -> int | float:
    number = float(text)
    if math.isinf(number):
        raise UsageError(f"--where: {shorten(text)} is too large for a number")
    is_whole = text.lstrip("+-").isdecimal() and abs(number) < 1 << 62
    return int(text) if is_whole else number


def _read_pattern(token: str) -> str:
    pattern = _unquote(token)
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise UsageError(
            f"--where: a pattern of LIKE has {len(pattern):,} characters; at most {MAX_PATTERN_CHARACTERS} are allowed"
        )
    return pattern


def _unquote(token: str) -> str:
    return str(token)[1:-1].replace("''", "'")


def _describe_syntax_error(text: str, position: int) -> UsageError:
    """Return the error for a text that the grammar does not accept from a position on."""
    rest = text[position:].strip()
    found = f"at character {position + 1}, {shorten(rest, 40)!r}" if rest else "at its end"
    before = re.search(r"(\w+)\s*$", text[:position])
    if rest.startswith("(") and before and before[1].lower() not in ("and", "or", "not", "in"):
        found += " (functions are not available)"
    return UsageError(
        f"--where {shorten(text)!r}: not understood {found}; compare columns with numbers or 'texts' "
        "(=, !=, <, <=, >, >=, IN, BETWEEN, LIKE, IS NULL), joined by AND, OR, NOT and brackets: "
        "diameter_mm > 4 AND manufacturer LIKE 'GE%'"
    )


def shorten(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    """Return a text for a message, cut where it is long."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def list_leaves(condition: Condition) -> list[Leaf]:
    """Return the comparisons of a condition, from left to right."""
    match condition:
        case Not(operand):
            return list_leaves(operand)
        case Junction(_, operands):
            return [leaf for operand in operands for leaf in list_leaves(operand)]
        case leaf:
            return [leaf]
