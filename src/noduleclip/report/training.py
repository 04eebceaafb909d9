"""Training as it goes: a live line with loss, rate, estimate and validation on a terminal, and a line per epoch."""

import math
import time
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from noduleclip.report.console import message_console, say


class TrainingDisplay:
    """Watches a training run.

    Args:
        epochs: Epochs planned.
        best: Best validation mean AP of the epochs that an earlier call has finished.
    """

    def __init__(self, epochs: int, best: float = -math.inf) -> None:
        self._epochs = epochs
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._steps_seen = 0
        self._started = time.perf_counter()
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
            self._bar = Progress(*columns, console=console, transient=True)
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
        """Leave a line for the epoch."""
        judged = ""
        if record["val_map"] is not None:
            judged = f"val mean AP {record['val_map']:.4f}{' *' if is_best else '  '}  "
            self._best = f"{record['val_map']:.3f}" if is_best else self._best
        say(
            f"epoch {record['epoch']:>3}/{self._epochs}  loss {record['loss']:.4f}  {judged}"
            f"{record['nodules_per_second']:.0f} nodules/s  {record['train_seconds'] + record['val_seconds']:.1f} s"
        )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
