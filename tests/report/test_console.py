"""What is said to a person is text, whatever a table holds."""

import pytest

from noduleclip.report.console import log_info, log_warning, plain

HOSTILE = "[red]P-1[/] \x1b[2J\x9b31m\nend"
SHOWN = r"[red]P-1[/] \x1b[2J\x9b31m end"


def test_what_is_said_is_neither_markup_nor_control(capsys: pytest.CaptureFixture[str]) -> None:
    log_info(HOSTILE)
    log_warning(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\nwarning: {SHOWN}\n"


def test_a_text_between_markup_stays_text() -> None:
    assert plain(HOSTILE) == SHOWN.replace("[red]", r"\[red]").replace("[/]", r"\[/]")
