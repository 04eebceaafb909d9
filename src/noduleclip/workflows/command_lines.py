"""Command lines as a user types them: an index, a table or a sentence by position, the rest by options."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a wrong command line is told without loading polars
    from noduleclip.workflows.search_request import SearchRequest

_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
_MEANS_MORE = re.compile(r'["$`!]|\\\\|\\$')  # between double quotes, to a shell


def format_command(
    command: str, positions: Sequence[object], options: Mapping[str, object | None] | None = None
) -> str:
    """Return a command line that a shell takes as it is.

    Args:
        command: Name of the command, such as "prepare lidc".
        positions: Values by position, in order.
        options: Values by the name of their option, "--topk"; None and False leave it out, True is a flag.
    """
    words = []
    for option, value in (options or {}).items():
        if value is not None and value is not False:
            words += [option] if value is True else [option, str(value)]
    typed = [str(value) for value in positions]
    is_plain = not any(value.startswith("-") for value in typed)
    words = [*typed, *words] if is_plain else [*words, "--", *typed]
    return f"noduleclip {command} {quote_words(words)}"


def format_search(
    request: "SearchRequest", emb_dir: str, *, model: Path | None = None, queries_file: Path | None = None
) -> str:
    """Return the command line of a search, without options at their defaults.

    Args:
        request: The search.
        emb_dir: The index.
        model: Checkpoint that was compared with the index.
        queries_file: File that the sentences came from.
    """
    filters, sentences = request.filters, request.sentences
    options: dict[str, object | None] = {
        "--model": model,
        "--queries-file": queries_file,
        "--topk": "all" if request.k is None else request.k,
        "--min-probability": request.min_probability,
        "--min-score": request.min_score,
        "--where": filters.where or None,
        "--unique": request.unique,
        "--patients-file": filters.patients if isinstance(filters.patients, Path) else None,
        "--like": request.like,
        "--like-weight": None if request.like is None else f"{request.like_weight:g}",
    }
    if request.alpha is not None:
        options |= {"--alpha": f"{request.alpha:g}", "--softness-mm": f"{request.softness_mm:g}"}
        options["--rule"] = None if request.rule == "measured" else request.rule
    options |= {"--exact": request.exact, "--free-text": request.free_text}
    typed = [sentences[0]] if sentences and queries_file is None else []
    return format_command("query" if request.alpha is None else "fuse", [emb_dir, *typed], options)


def quote_words(words: Sequence[str]) -> str:
    """Return words as a shell takes them: between double quotes, as in the documentation, where these are enough."""
    return " ".join(map(_quote, words))


def _quote(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    return shlex.quote(text) if _MEANS_MORE.search(text) else f'"{text}"'
