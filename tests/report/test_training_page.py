"""The page that a training run ends in."""

import re
from pathlib import Path

import numpy as np

from noduleclip import schema
from noduleclip.language import EVALUATION_QUERIES
from noduleclip.report.training_page import find_examples


def test_what_is_found_and_missed_is_chosen_by_rank() -> None:
    sizes = np.array([[4.0, 5.0], [12.0, np.nan], [20.0, 22.0], [7.0, 8.0], [30.0, 31.0], *[[3.5, np.nan]] * 20])
    scores = np.tile(-sizes[:, 0], (len(EVALUATION_QUERIES), 1))  # the smallest first, whatever is asked
    crops = np.random.default_rng(0).normal(-600, 200, (len(sizes), 16, 16)).astype(np.float32)
    small, medium, large = find_examples(scores, EVALUATION_QUERIES, sizes, crops)
    assert [one.query.split("diameter ")[1] for one in (small, medium, large)] == ["<= 6 mm", "6-10 mm", "> 10 mm"]
    assert [one.place for one in small.found] == list(range(1, 9))
    assert all(one.is_true and one.size == 3.5 for one in small.found)
    assert [(one.place, one.size) for one in medium.missed] == [(22, 7.5)]
    assert [(one.place, one.size) for one in large.missed] == [(25, 30.5), (24, 21.0), (23, 12.0)]
    assert not any(one.is_true for one in large.found)
    assert len({one.picture for one in large.missed}) == 3


def test_a_run_leaves_a_page_that_needs_nothing_else(checkpoint: Path) -> None:
    text = (checkpoint.parent / schema.TRAINING_PAGE).read_text(encoding="utf-8")
    assert "2 epochs; the best is epoch" in text
    assert text.count("<svg ") == 1
    assert "<script" not in text and "default-src 'none'" in text
    assert re.findall(r'(?:src|href)="(?!data:image/webp)(?!#)', text) == []
    assert text.count("found first") == 3
    for query in EVALUATION_QUERIES[:2]:
        assert query.replace("<", "&lt;").replace(">", "&gt;") in text
