"""Conditions for Lance choose the rows that polars chooses, or are not translated."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noduleclip.io.conditions import list_condition, translate_condition

FRAME = pl.DataFrame(
    {
        "row": list(range(8)),
        "size": [3.0, None, 4.5, -1.0, 0.0, 12.25, None, 4.0],
        "name": ["a", "b'c", None, "", "A", "a b", "or", "4"],
        "csv_row": [1, 2, 3, 5, 8, 13, 21, 34],
    },
    schema_overrides={"row": pl.Int64, "csv_row": pl.UInt32},
)
KINDS = dict(FRAME.schema)
NUMBERS = st.sampled_from(["3", "4.5", "-1", "0", "12.25", "99"])
WHOLE = st.sampled_from(["3", "-1", "0", "99"])
COUNTS = st.sampled_from(["3", "0", "13", "4294967295"])
TEXTS = st.sampled_from(["'a'", "'b''c'", "''", "'A'", "'or'", "'4'", "' AND '"])
OPERATORS = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="])


def compare(name: str, literals: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    listed = st.lists(literals, min_size=1, max_size=3).map(lambda values: f"{name} IN ({', '.join(values)})")
    plain = st.builds(lambda operator, literal: f"{name} {operator} {literal}", OPERATORS, literals)
    between = st.builds(lambda low, high: f"{name} BETWEEN {low} AND {high}", literals, literals)
    return (
        plain
        | between
        | between.map(lambda one: f"NOT {one}")
        | plain.map(lambda one: f"NOT {one}")
        | listed
        | st.sampled_from([f"{name} IS NULL", f"{name} IS NOT NULL"])
    )


CONDITIONS = st.recursive(
    compare("size", NUMBERS) | compare("row", WHOLE) | compare("csv_row", COUNTS) | compare("name", TEXTS),
    lambda inner: st.builds(
        lambda one, joint, other: f"({one} {joint} {other})", inner, st.sampled_from(["AND", "or"]), inner
    ),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    lance = pytest.importorskip("lance")
    place: Path = tmp_path_factory.mktemp("conditions") / "rows.lance"
    return lance.write_dataset(FRAME.to_arrow(compat_level=pl.CompatLevel.oldest()), str(place))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
@given(condition=CONDITIONS)
def test_a_translated_condition_chooses_the_same_rows(table: Any, condition: str) -> None:
    translated = translate_condition(condition, KINDS)
    if translated is None:
        assert "NOT " in condition
        assert " IN (" in condition
        return
    wanted = FRAME.filter(pl.sql_expr(condition))["row"].to_list()
    assert table.to_table(columns=["row"], filter=translated)["row"].to_pylist() == wanted


@pytest.mark.parametrize(
    "condition",
    [
        "ABS(size) > 3", "size + 1 > 3", "size > row", "name LIKE 'a%'", "size > 'a'", "name > 3", "lobe = 'x'",
        "size", "TRUE", "((", "", "size > 3 AND name", "size > 3 -- AND row > 2", "name = 'a' || 'b'", "size > 3e2",
        "CAST(size AS INT) = 3", "size NOT BETWEEN 3 AND 4", "size BETWEEN 3 AND row", "size BETWEEN 3 AND 4 + 1",
        "row BETWEEN 3 AND 4.5", "size IN (SELECT 3)", "row > 3.5",
        "NOT (size IN (3) AND size IN (4.5))", "NOT (size = 3 AND size = 4)", "NOT size IN (3) OR NOT size IN (4)",
        'size > "row"', "size > 4 \x00", "csv_row > -5", "csv_row != -1", "csv_row < 4294967296", "csv_row IN (-1, 1)",
        "csv_row BETWEEN -5 AND 1000", "row < 9223372036854775808",
    ],
)  # fmt: skip
def test_other_conditions_are_left_to_polars(condition: str) -> None:
    assert translate_condition(condition, KINDS) is None


def test_a_list_of_values_is_quoted(table: Any) -> None:
    condition = list_condition("name", ["b'c", "or", "nobody"])
    assert table.to_table(columns=["row"], filter=condition)["row"].to_pylist() == [1, 6]
