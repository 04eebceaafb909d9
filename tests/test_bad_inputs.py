"""Every row of the page of bad inputs: what it says is what happens.

`REWRITE_DOCS=1 pytest tests/test_bad_inputs.py` writes the messages that were seen into the page.
"""

import os
import re
from pathlib import Path

import pytest

import bad_masks  # noqa: F401 - enters its cases
import bad_volumes  # noqa: F401 - enters its cases
from bad_inputs import CASES, PROVED_ELSEWHERE, World
from conftest import Collection, Command

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "bad-inputs.md"


def describe(number: int, given: str, told: str, test: str) -> str:
    cells = [cell.replace("|", "\\|") for cell in (str(number), given, told, test)]
    return f"| {' | '.join(cells)} |"


def compare(number: int, line: str) -> None:
    """Find a row's line in the page, or write it there."""
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("REWRITE_DOCS"):
        text = re.sub(rf"^\| {number} \|.*$", lambda _: line, text, flags=re.MULTILINE)
        PAGE.write_text(text, encoding="utf-8")
    assert line in text.splitlines()


@pytest.mark.parametrize("number", sorted(CASES))
def test_the_page_says_what_happens(
    number: int, noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, index: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given, act = CASES[number]
    folder = tmp_path / "case"
    folder.mkdir()
    told = act(World(noduleclip, collection, checkpoint, exported, index, folder, monkeypatch))
    for place in (folder, tmp_path, collection.folder, checkpoint.parent, index.parent):
        told = told.replace(f"{place}/", "").replace(str(place), "…")
    assert "\n" not in told
    compare(number, describe(number, given, told, f"`tests/{act.__module__}.py`"))


@pytest.mark.parametrize("number", sorted(PROVED_ELSEWHERE))
def test_what_is_proved_elsewhere_has_its_test(number: int) -> None:
    given, told, test = PROVED_ELSEWHERE[number]
    file, name = test.split("::")
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
    compare(number, describe(number, given, told, f"`{file}`"))


def test_every_row_is_proved() -> None:
    assert sorted([*CASES, *PROVED_ELSEWHERE]) == list(range(1, 59))
