"""Command lines that are shown can be typed as they are."""

import shlex
from pathlib import Path

import pytest

from noduleclip.workflows.command_lines import format_command, format_search, quote_words
from noduleclip.workflows.search_request import RowFilter, SearchRequest


@pytest.mark.parametrize(
    "word",
    ["idx", "", "> 6 mm", "it's", 'say "so"', "$HOME", "a`b`", "hi!", "a\\", "a\\\\b", "C:\\x y", "6–10 mm", "*"],
)
def test_a_shell_reads_the_word_that_was_meant(word: str) -> None:
    assert shlex.split(quote_words([word])) == [word]


def test_what_a_command_needs_stands_by_position() -> None:
    options = {"--topk": 5, "--free-text": True, "--exact": False, "--model": None}
    line = format_command("query", [Path("my idx"), "> 6 mm"], options)
    assert line == 'noduleclip query "my idx" "> 6 mm" --topk 5 --free-text'
    assert format_command("query", ["idx", "-6 mm"], {"--topk": 5}) == 'noduleclip query --topk 5 -- idx "-6 mm"'


def test_a_search_is_written_as_the_documentation_writes_it() -> None:
    request = SearchRequest(sentences=["> 6 mm"], filters=RowFilter(where="texture = 5"), alpha=0.3)
    assert format_search(request, "idx") == (
        'noduleclip fuse idx "> 6 mm" --topk 10 --where "texture = 5" --alpha 0.3 --softness-mm 1.5'
    )
    assert format_search(SearchRequest(like="3", k=None), "idx") == (
        "noduleclip query idx --topk all --like 3 --like-weight 0.5"
    )
    many = SearchRequest(sentences=["> 6 mm", "> 8 mm"])
    assert format_search(many, "idx", queries_file=Path("q.txt")) == (
        "noduleclip query idx --queries-file q.txt --topk 10"
    )
