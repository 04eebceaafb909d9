"""What is said to a person is text, whatever a table holds."""

import pytest

from noduleclip.report.console import data_console, hide_messages, log_info, log_warning, plain, write_lines

HOSTILE = "[red]P-1[/] \x1b[2J\x9b31m\nend"
SHOWN = r"[red]P-1[/] \x1b[2J\x9b31m end"


def test_what_is_said_is_neither_markup_nor_control(capsys: pytest.CaptureFixture[str]) -> None:
    log_info(HOSTILE)
    log_warning(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\nwarning: {SHOWN}\n"


def test_a_text_between_markup_stays_text() -> None:
    assert plain(HOSTILE) == SHOWN.replace("[red]", r"\[red]").replace("[/]", r"\[/]")


def test_hidden_messages_leave_warnings_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    with hide_messages():
        log_info("a message")
        log_warning("a warning")
        write_lines(["a row"])
    assert capsys.readouterr() == ("a row\n", "warning: a warning\n")
    with hide_messages(data=True):
        write_lines(["a row"])
        data_console().print("a table")
    log_info("a message")
    write_lines(["a row"])
    assert capsys.readouterr() == ("a row\n", "a message\n")
