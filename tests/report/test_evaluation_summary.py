"""The main figures of an evaluation: one screen, with those of unseen patients apart."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noduleclip.report.console import data_console
from noduleclip.report.evaluation_summary import print_summary

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def lidc(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The evaluation of the bundled model, in a window of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    data_console.cache_clear()
    values = json.loads((ROOT / "docs" / "models" / "lidc-evaluation.json").read_text(encoding="utf-8"))
    yield {**values, "training_patients": None, "unseen": None}
    monkeypatch.undo()
    data_console.cache_clear()


def test_the_figures_of_all_and_of_unseen_patients_fit_one_screen(
    lidc: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    unseen = {**lidc, "nodules": 123, "model": {"ap": {"mean": 0.123, "low": 0.1, "high": math.nan}}}
    counts = {"patients": 165, "trained": 20, "validated": 5, "unseen": 140}
    print_summary({**lidc, "training_patients": counts, "unseen": unseen})
    text = capsys.readouterr().out
    lines = [line.rstrip() for line in text.splitlines()]
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    assert f"{lidc['nodules']} nodules; (*) on {lidc['common']} with two readers or more" in lines[0]
    first, apart = text.split("unseen patients alone: 123 nodules")
    readers = lidc["readers"]["ap"]
    shown = [lidc["model"]["ap"]["mean"], *(readers[name]["mean"] for name in ("model", "second_reader", "panel"))]
    (mean,) = [line for line in first.splitlines() if "mean AP, 10 sizes" in line]
    assert [value for value in shown if f" {value:.3f}" not in mean] == []
    assert len([query for query in lidc["queries"] if query["query"].split("diameter ")[1] in first]) == 10
    assert "0.123  0.100--" in apart and "> 8 mm" not in apart
    assert "of 165 patients 20 trained the model" in apart


def test_many_sentences_have_their_mean_alone(lidc: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    many = {**lidc, "queries": lidc["queries"] * 2, "ratings": None}
    print_summary(many)
    text = capsys.readouterr().out
    assert "mean AP, 20 sentences" in text and "> 8 mm" not in text
