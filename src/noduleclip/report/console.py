"""Output: data to stdout, messages to stderr, progress only on a terminal."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache

from rich.console import Console
from rich.markup import escape

from noduleclip.errors import make_printable
from noduleclip.report.sparkline import choose_bars, describe_counts
from noduleclip.workflows.reporter import Reporter

_LEAST_WIDTH = 40
_UNUSUAL = re.compile(r"[^ -~]")
_HIDES_MESSAGES = ContextVar("_HIDES_MESSAGES", default=False)


def _open_console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False)
    if console.width < _LEAST_WIDTH:  # COLUMNS=0 or 1, or a terminal of no size: rich would print nothing
        console.width = _LEAST_WIDTH
    return console


@cache
def data_console() -> Console:
    """Return the console of stdout."""
    return _open_console(stderr=False)


@cache
def message_console() -> Console:
    """Return the console of stderr."""
    return _open_console(stderr=True)


def plain(text: str) -> str:
    """Return a text escaped for rich markup, without control characters."""
    return escape(make_printable(text))


def write_lines(lines: Iterable[str]) -> None:
    """Write lines of data to stdout; control characters are escaped on a terminal only."""
    is_terminal = sys.stdout.isatty()  # not Console.is_terminal, which FORCE_COLOR sets for a pipe
    sys.stdout.write("".join(f"{make_printable(line) if is_terminal else line}\n" for line in lines))
    sys.stdout.flush()


def write_json_lines(lines: Iterable[str]) -> None:
    """Write JSON lines to stdout; characters that are not printable become JSON escapes."""
    write_lines(_UNUSUAL.sub(_escape_for_json, line) for line in lines)


def _escape_for_json(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def log_info(text: str) -> None:
    """Print a message on stderr, unwrapped; the text is never read as markup."""
    if _HIDES_MESSAGES.get():
        return
    message_console().print(plain(text), soft_wrap=True)


def log_progress(text: str) -> None:
    """Print a line of progress on stderr where there is no terminal for a bar; while messages are hidden, too."""
    if not message_console().is_terminal:
        message_console().print(plain(text), soft_wrap=True)


def log_warning(text: str) -> None:
    """Warn on stderr."""
    message_console().print(f"[yellow]warning:[/] {plain(text)}", soft_wrap=True)


@contextlib.contextmanager
def hide_messages(*, data: bool = False) -> Iterator[None]:
    """Print no messages while the block runs; warnings and progress are shown.

    Args:
        data: Whether what goes to stdout is left out, too.
    """
    data_console()  # looks for the colours of stdout when it is made: before stdout is another
    token = _HIDES_MESSAGES.set(True)
    try:
        with contextlib.redirect_stdout(io.StringIO()) if data else contextlib.nullcontext():
            yield
    finally:
        _HIDES_MESSAGES.reset(token)


@contextlib.contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar with count, rate and estimate on a terminal; nothing elsewhere.

    Yields:
        A function to call with the units done since the last call.
    """
    console = message_console()
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=total, rate="")

        def advance(count: int) -> None:
            speed = progress.tasks[0].finished_speed or progress.tasks[0].speed
            progress.update(task, advance=count, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance


class ConsoleReporter(Reporter):
    """Prints messages on stderr and shows progress on a terminal."""

    def info(self, text: str) -> None:
        """Print a fact."""
        log_info(text)

    def note(self, text: str) -> None:
        """Print a note."""
        log_info(f"note: {text}")

    def warning(self, text: str) -> None:
        """Print a warning."""
        log_warning(text)

    def histogram(self, title: str, counts: Mapping[str, int]) -> None:
        """Print the counts in a line, each with a bar."""
        log_info(f"{title}: {describe_counts(counts, choose_bars(message_console()))}")

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Show a bar."""
        with progress(title, total, unit) as advance:
            yield advance


CONSOLE = ConsoleReporter()
