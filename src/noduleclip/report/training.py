"""Progress of training on stderr: a line per epoch, and on a terminal a live bar over the curves so far."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from noduleclip.report.console import log_info, log_progress, message_console
from noduleclip.report.sparkline import choose_bars, draw_sparkline
from noduleclip.workflows.train import TrainingCallback

_MAX_BARS, _MIN_BARS = 32, 8
_LABELS_WIDTH = len("loss 0.0000 0.0000  val AP 0.0000 0.0000")


class _Curves:
    """Loss and validation mean AP of the epochs so far."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._loss: list[float] = []
        self._ap: list[float] = []

    def add(self, record: Mapping[str, Any]) -> None:
        self._loss.append(record["loss"])
        if record["val_map"] is not None:
            self._ap.append(record["val_map"])

    def draw(self) -> str:
        """Return both curves on one line, each between its first and last value; empty before the second epoch."""
        width = min(_MAX_BARS, (self._console.width - _LABELS_WIDTH) // 2)
        if len(self._loss) < 2 or width < _MIN_BARS:
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


class TrainingDisplay(TrainingCallback):
    """Shows the progress of training: a line per epoch, and a live bar on a terminal.

    Args:
        epochs: Planned epochs.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._steps_seen = 0
        self._started = time.perf_counter()
        self._curves = _Curves(message_console())
        self._best = -math.inf
        self._is_estimated = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on_end()

    def on_end(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()

    def on_start(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Show the epochs of earlier calls, and start the bar."""
        for record in history:
            self._add(record)
        self._started = time.perf_counter()
        console = message_console()
        if not console.is_terminal:
            return
        columns = (
            TextColumn("[progress.description]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
        )
        self._bar = _BarOverCurves(self._curves, *columns, console=console)
        self._bar.start()
        self._task = self._bar.add_task("epoch 1", total=None, state="")

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Move the bar."""
        self._steps_seen += 1
        if self._bar is None:
            return
        rate = self._steps_seen / (time.perf_counter() - self._started)
        left = (self._epochs - epoch) * steps + steps - step
        best = f"{self._best:.3f}" if math.isfinite(self._best) else "-"
        state = f"loss {loss:.3f}  {rate:.1f} steps/s  {_minutes(left / rate)} left  best AP {best}"
        self._bar.update(
            self._task, description=f"epoch {epoch}/{self._epochs}", completed=step, total=steps, state=state
        )

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Print a line, and extend the curves."""
        is_best = self._add(record)
        seconds = record["train_seconds"] + record["val_seconds"]
        validation = ""
        if record["val_map"] is not None:
            validation = f"val mean AP {record['val_map']:.4f}{' *' if is_best else '  '}  "
        log_info(
            f"epoch {record['epoch']:>3}/{self._epochs}  loss {record['loss']:.4f}  {validation}"
            f"{record['nodules_per_second']:.0f} nodules/s  {seconds:.1f} s"
        )
        left = self._epochs - record["epoch"]
        if left and not self._is_estimated:
            log_progress(f"train: about {_minutes(left * seconds)} left for {left} of {self._epochs} epochs")
        self._is_estimated = True

    def _add(self, record: Mapping[str, Any]) -> bool:
        """Add an epoch to the curves, and return whether it is the best one so far."""
        self._curves.add(record)
        is_best = record["val_map"] is not None and record["val_map"] > self._best
        if is_best:
            self._best = record["val_map"]
        return is_best


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
