"""Training as it goes: a live line with rate and estimate over one of loss and validation, and a line per epoch."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from noduleclip.report.console import log_info, message_console
from noduleclip.report.sparkline import choose_bars, draw_sparkline

_MOST_BARS, _FEWEST_BARS = 32, 8
_WORDS = len("loss 0.0000 0.0000  val AP 0.0000 0.0000")


class _Curves:
    """Loss and validation mean AP of the epochs so far."""

    def __init__(self, console: Console, history: Iterable[Mapping[str, Any]]) -> None:
        self._console = console
        self._loss: list[float] = []
        self._ap: list[float] = []
        for record in history:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        self._loss.append(record["loss"])
        if record["val_map"] is not None:
            self._ap.append(record["val_map"])

    def draw(self) -> str:
        """Return both curves in a line, each between its first and last value; empty before the second epoch."""
        width = min(_MOST_BARS, (self._console.width - _WORDS) // 2)
        if len(self._loss) < 2 or width < _FEWEST_BARS:
            return ""
        bars = choose_bars(self._console)
        return "  ".join(
            f"{name} {values[0]:.3f} {draw_sparkline(values, bars, width)} {values[-1]:.3f}"
            for name, values in (("loss", self._loss), ("val AP", self._ap))
            if values
        )


class _BarOverCurves(Progress):
    """A progress bar with the curves below."""

    def __init__(self, curves: _Curves, *columns: ProgressColumn, console: Console) -> None:
        self._curves = curves
        super().__init__(*columns, console=console, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if drawn := self._curves.draw():
            yield Text(drawn, no_wrap=True)


class TrainingDisplay:
    """Watches a training run.

    Args:
        epochs: Epochs planned.
        best: Best validation mean AP of the epochs that an earlier call has finished.
        history: The records of those epochs.
    """

    def __init__(self, epochs: int, best: float = -math.inf, history: Sequence[Mapping[str, Any]] = ()) -> None:
        self._epochs = epochs
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._steps_seen = 0
        self._started = time.perf_counter()
        self._curves = _Curves(message_console(), history)
        self._best = f"{best:.3f}" if math.isfinite(best) else "-"

    def __enter__(self) -> Self:
        console = message_console()
        if console.is_terminal:
            text = "[progress.description]{task.description}"
            columns = (
                TextColumn(text),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
            )
            self._bar = _BarOverCurves(self._curves, *columns, console=console)
            self._bar.start()
            self._task = self._bar.add_task("epoch 1", total=None, state="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Move the bar."""
        self._steps_seen += 1
        if self._bar is None:
            return
        rate = self._steps_seen / (time.perf_counter() - self._started)
        left = (self._epochs - epoch) * steps + steps - step
        state = f"loss {loss:.3f}  {rate:.1f} steps/s  {_minutes(left / rate)} left  best AP {self._best}"
        self._bar.update(
            self._task, description=f"epoch {epoch}/{self._epochs}", completed=step, total=steps, state=state
        )

    def on_epoch(self, record: dict[str, Any], is_best: bool) -> None:
        """Leave a line for the epoch, and a bar in each curve."""
        self._curves.add(record)
        judged = ""
        if record["val_map"] is not None:
            judged = f"val mean AP {record['val_map']:.4f}{' *' if is_best else '  '}  "
            self._best = f"{record['val_map']:.3f}" if is_best else self._best
        log_info(
            f"epoch {record['epoch']:>3}/{self._epochs}  loss {record['loss']:.4f}  {judged}"
            f"{record['nodules_per_second']:.0f} nodules/s  {record['train_seconds'] + record['val_seconds']:.1f} s"
        )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
