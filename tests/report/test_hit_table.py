"""The table of hits: a mark beside each asked value, one scale of scores, and hits that can be told apart."""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from noduleclip import schema
from noduleclip.language.query import describe_query, parse_query
from noduleclip.report import hit_table
from noduleclip.report.hit_table import make_hit_table, shorten_path, shorten_paths
from noduleclip.retrieval.hits import describe_hits
from noduleclip.workflows.search_answer import Answer, Ranking

SENTENCE = "a spiculated nodule > 10 mm"
SCORES = {schema.SIMILARITY: 0.1, schema.PROBABILITY: 0.9}
FUSED = {**SCORES, schema.COSINE: 0.9, schema.RULE: 0.5, schema.SCORE: 0.7}
ROW = {
    schema.DICOM_PATH: "LIDC-IDRI-0001/scan/000017.dcm", schema.PATIENT_ID: "LIDC-IDRI-0001",
    schema.NODULE_ID: "LIDC-IDRI-0001_N1", schema.DIAMETER_MM: 27.9, schema.SPICULATION: 2.0,
    schema.ESTIMATED_DIAMETER: 36.0, "estimated_spiculation": 4.0, schema.ROW: 3,
}  # fmt: skip

Draw = Callable[..., list[str]]


def make_answer(rows: list[dict[str, Any]], sentence: str, scores: dict[str, float]) -> Answer:
    parsed = parse_query(sentence)
    columns = {name: np.full(len(rows), value) for name, value in scores.items()}
    found = pl.DataFrame([{**ROW, **row} for row in rows], infer_schema_length=None)
    hits = describe_hits(found, columns, sentence, parsed)
    ranking = Ranking(
        sentence, describe_query(parsed), parsed, None, np.arange(len(rows)), dict(columns), len(rows), len(rows)
    )
    return Answer(ranking, hits)


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Lines of the table of some rows in a window of so many columns."""

    def make_lines(
        *rows: dict[str, Any], sentence: str = SENTENCE, scores: dict[str, float] = SCORES, width: int = 120
    ) -> list[str]:
        console = Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=width, highlight=False)
        monkeypatch.setattr(hit_table, "data_console", lambda: console)
        with console.capture() as captured:
            console.print(make_hit_table(make_answer(list(rows), sentence, scores), None))
        lines = [line.rstrip() for line in captured.get().splitlines()]
        assert max(map(len, lines)) <= width
        return lines

    return make_lines


def test_each_asked_value_has_its_own_mark(draw: Draw) -> None:
    (line,) = [line for line in draw({}) if "27.9" in line]
    assert "27.9 ✓" in line
    assert "2 ✗" in line
    (line,) = [line for line in draw({schema.SPICULATION: 3.25, schema.DIAMETER_MM: 8.0}) if "8.0" in line]
    assert "8.0 ✗" in line
    assert "3.25 ✓" in line


def test_an_estimate_has_a_mark_in_brackets_and_the_caption_says_so(draw: Draw) -> None:
    lines = draw({schema.DIAMETER_MM: None, schema.SPICULATION: None}, {})
    assert "~36.0 (✓)" in lines[4]
    assert "~4 (✓)" in lines[4]
    assert "27.9 ✓  " in lines[5]  # the numbers stand below each other
    assert lines[4].index("36.0") == lines[5].index("27.9")
    assert lines[-1] == "~ and marks in brackets: the model's estimate, where nothing was measured"
    assert not any("brackets" in line for line in draw({}))


def test_what_is_not_asked_for_or_not_known_has_no_mark(draw: Draw) -> None:
    assert not any("✓" in line or "✗" in line for line in draw({}, sentence="a lung nodule"))
    unknown = {schema.DIAMETER_MM: None, schema.ESTIMATED_DIAMETER: None}
    lines = draw(unknown, {schema.DIAMETER_MM: 11.0})
    assert re.search(r" 0\.900 +- ", lines[4])


@pytest.mark.parametrize(
    ("scores", "heads"),
    [
        (SCORES, ["probability"]),
        (FUSED, ["score", "probability", "rule"]),
        ({schema.SIMILARITY: 0.8, schema.PROBABILITY: np.nan, schema.LIKENESS: 0.8}, ["likeness"]),
        ({**SCORES, schema.COSINE: 0.9, schema.LIKENESS: 0.8, schema.SCORE: 0.9}, ["score", "probability", "likeness"]),
    ],
)
def test_scores_have_one_scale(draw: Draw, scores: dict[str, float], heads: list[str]) -> None:
    head = draw({}, scores=scores)[2].split()
    assert head[: head.index("mm")] == ["#", *heads]
    assert head[head.index("mm") :] == ["mm", "spiculation", "nodule", "patient", "slice"]


def test_a_narrow_window_keeps_what_tells_hits_apart(draw: Draw) -> None:
    heads = {width: draw({}, scores=FUSED, width=width)[2].split() for width in (120, 80, 70, 60)}
    assert len({len(one) for one in heads.values()}) > 2
    for width in (120, 80, 70, 60):
        assert {"#", "score", "mm", "spiculation", "nodule", "slice"} <= set(heads[width])
        kept = [name for name in ("rule", "probability", "patient") if name in heads[width]]
        assert kept == ["rule", "probability", "patient"][3 - len(kept) :]  # they leave in this order


def test_hits_of_one_patient_are_told_apart_in_any_window(draw: Draw) -> None:
    """By the nodule on one slice, by the slice of one folder, by the frame of one file."""
    rows = [
        {},
        {schema.NODULE_ID: "LIDC-IDRI-0001_N2"},
        {schema.DICOM_PATH: "LIDC-IDRI-0001/scan/000018.dcm"},
        {schema.DICOM_PATH: "LIDC-IDRI-0001/other/000018.dcm"},
    ]
    for width in (60, 80, 120):
        lines = draw(*rows, width=width)
        text = "\n".join(lines)
        start = next(at for at, line in enumerate(lines) if "──" in line)
        assert len({line[3:] for line in lines[start + 1 :] if line.strip()}) > len(rows), text
    framed = [{schema.FRAME: 56.0}, {schema.FRAME: 57.0}]
    lines = draw(*framed)
    assert lines[4].endswith("000017.dcm#56")
    assert lines[5].endswith("000017.dcm#57")
    assert not any("#1" in line for line in draw({schema.FRAME: 1.0}))


@pytest.mark.parametrize(
    ("nodule", "shown"),
    [
        ("LIDC-IDRI-0001_N1", "N1"),
        ("7", "7"),
        ("LIDC-IDRI-00012", "LIDC-IDRI-00012"),
        ("LIDC-IDRI-0001", "LIDC-IDRI-0001"),
        (None, "-"),
    ],
)
def test_the_patient_is_not_named_twice(draw: Draw, nodule: str | None, shown: str) -> None:
    line = draw({schema.NODULE_ID: nodule}, {schema.NODULE_ID: "other"})[4]
    before = line[: line.rindex("LIDC-IDRI-0001/")].rstrip().removesuffix("LIDC-IDRI-0001").rstrip()
    assert before.endswith(f"✗  {shown}")


def test_markup_and_control_characters_stay_text(draw: Draw) -> None:
    text = "\n".join(
        draw({schema.PATIENT_ID: "[red]a[/]\x1b", schema.NODULE_ID: "[b]", schema.DICOM_PATH: "[i]/x.dcm"})
    )
    assert "[red]a[/]" in text
    assert "[b]" in text
    assert "[i]/x.dcm" in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("path", "width", "short"),
    [
        ("a/b/000017.dcm", 40, "a/b/000017.dcm"),
        ("patient/scan/000017.dcm", 18, "…/scan/000017.dcm"),
        ("patient/scan/000017.dcm", 12, "…/000017.dcm"),
        ("patient/scan/a-very-long-name.dcm", 12, "…ng-name.dcm"),
    ],
)
def test_a_path_is_shortened_to_its_end(path: str, width: int, short: str) -> None:
    assert shorten_path(path, width) == short


def test_short_paths_of_different_slices_differ() -> None:
    paths = ["p/1/im.dcm", "p/2/im.dcm", "p/2/im.dcm", "q/2/im.dcm", "q/3/x.dcm"]
    for width in range(6, 14):
        shown = shorten_paths(paths, width)
        assert len(set(shown)) == len(set(paths))
        assert shown[1] == shown[2]
        assert all(path.endswith(short.removeprefix("…")) for path, short in zip(paths, shown, strict=True))
    assert shorten_paths(["a/x.dcm", "b/x.dcm"], 5) == ["a/x.dcm", "b/x.dcm"]


def test_paths_that_differ_in_a_folder_fit_the_window() -> None:
    paths = [f"dicom/PHANTOM-{number:04}/00002.dcm" for number in (61, 75, 90)]
    assert shorten_paths(paths, 20) == ["…NTOM-0061/00002.dcm", "…NTOM-0075/00002.dcm", "…NTOM-0090/00002.dcm"]
