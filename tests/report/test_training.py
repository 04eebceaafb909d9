"""Progress of training on a terminal and elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from noduleclip.report.console import hide_messages, message_console
from noduleclip.report.training import TrainingDisplay


def record(epoch: int, loss: float, val_map: float | None) -> dict[str, Any]:
    seconds = {"nodules_per_second": 9.0, "train_seconds": 1.0, "val_seconds": 0.5}
    return {"epoch": epoch, "loss": loss, "val_map": val_map, **seconds}


@pytest.fixture
def _own_console() -> Iterator[None]:
    message_console.cache_clear()
    yield
    message_console.cache_clear()


def watch(val_maps: list[float | None], monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, value)
    losses = (4.0, 2.0, 0.5)
    first, *later = [record(at + 1, loss, ap) for at, (loss, ap) in enumerate(zip(losses, val_maps, strict=True))]
    with TrainingDisplay(3) as display:
        display.on_start([first])
        for line in later:
            display.on_step(line["epoch"], 1, 1, line["loss"])
            display.on_epoch(line)


@pytest.mark.usefixtures("_own_console")
def test_a_terminal_shows_the_curves_of_all_epochs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch([0.25, 0.5, 0.75], monkeypatch, 100)
    shown = capsys.readouterr().err
    assert "loss 4.000 █▄▁ 0.500  val AP 0.250 ▁▅█ 0.750" in shown
    assert len(re.findall(r"epoch   [23]/3  loss", shown)) == 2


@pytest.mark.usefixtures("_own_console")
def test_without_validation_the_loss_is_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch([None, None, None], monkeypatch, 100)
    shown = capsys.readouterr().err
    assert "loss 4.000 █▄▁ 0.500" in shown
    assert "val AP" not in shown


@pytest.mark.usefixtures("_own_console")
def test_a_narrow_window_shows_no_curves(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    watch([0.25, 0.5, 0.75], monkeypatch, 50)
    assert "val AP 0.250" not in capsys.readouterr().err


@pytest.mark.usefixtures("_own_console")
def test_elsewhere_there_is_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(2) as display:
        display.on_start([])
        for line in (record(1, 4.0, 0.25), record(2, 2.0, 0.5)):
            display.on_step(line["epoch"], 1, 1, line["loss"])
            display.on_epoch(line)
    assert capsys.readouterr().err == (
        "epoch   1/2  loss 4.0000  val mean AP 0.2500 *  9 nodules/s  1.5 s\n"
        "train: about 0:01 left for 1 of 2 epochs\n"
        "epoch   2/2  loss 2.0000  val mean AP 0.5000 *  9 nodules/s  1.5 s\n"
    )


@pytest.mark.usefixtures("_own_console")
def test_without_a_terminal_the_first_epoch_tells_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with hide_messages(), TrainingDisplay(41) as display:
        display.on_start([])
        for epoch in (1, 2):
            display.on_epoch(record(epoch, 1.0, None))
    assert capsys.readouterr().err == "train: about 1:00 left for 40 of 41 epochs\n"
