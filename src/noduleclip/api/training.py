"""Training of a model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noduleclip.api.arguments import as_path, choose_reporter
from noduleclip.config import ModelConfig, TrainConfig
from noduleclip.machine import require_training_libraries

if TYPE_CHECKING:
    from noduleclip.workflows.train import TrainResult


def train(
    roi_csv: str | Path,
    *,
    train_patients: str | Path,
    val_patients: str | Path | None = None,
    out: str | Path,
    dicom_root: str | Path | None = None,
    model: ModelConfig | None = None,
    config: TrainConfig | None = None,
    pretrained: bool = False,
    device: str = "auto",
    cache_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    verbose: bool = False,
) -> "TrainResult":
    """Train an image and a text encoder; the same run as `noduleclip train`.

    Args:
        roi_csv: ROI table.
        train_patients: File of training patients, one id a line.
        val_patients: File of validation patients, which choose the best epoch; None = keep the last epoch.
        out: Folder for `clip_best.pth` and the records of the run.
        dicom_root: Folder that relative DICOM paths start from; None = the table's folder, else the working folder.
        model: Architecture; None = the defaults.
        config: Hyperparameters; None = the defaults.
        pretrained: Start from the backbone's published weights.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        cache_dir: Folder where cut crops are kept; None = the user's cache folder.
        resume: Continue the run in `out`.
        overwrite: Replace the run in `out`.
        on_epoch: Called after each epoch with its record, a line of `metrics.jsonl`.
        verbose: Print messages and progress on stderr.

    Returns:
        The run: `checkpoint`, `best_epoch`, `val_map` and `history`.

    Raises:
        UsageError: `out` holds a run already, an argument is not allowed, or torch is not installed.
        InputError: The table or a patient list cannot be used.

    Examples:
        >>> from noduleclip.config import TrainConfig
        >>> run = nc.train(
        ...     "phantoms/roi_with_diam.csv",
        ...     train_patients="splits/train_patients.txt",
        ...     out="runs/second",
        ...     config=TrainConfig(epochs=1, bs=8),
        ... )
    """
    require_training_libraries("train")
    from noduleclip.report.training_page import write_training_page
    from noduleclip.workflows.roi_crops import TableRequest
    from noduleclip.workflows.train import TrainingCallback
    from noduleclip.workflows.train import train as run
    from noduleclip.workflows.train_request import TrainRequest

    class _Callback(TrainingCallback):
        def on_epoch(self, record: dict[str, Any]) -> None:
            if on_epoch is not None:
                on_epoch(record)

    table = TableRequest(Path(roi_csv), as_path(dicom_root), cache_dir=as_path(cache_dir))
    request = TrainRequest(
        table=table, train_patients=Path(train_patients), val_patients=as_path(val_patients), out=Path(out),
        model=model or ModelConfig(), config=config or TrainConfig(), pretrained=pretrained, device=device,
        resume=resume, overwrite=overwrite,
    )  # fmt: skip
    result = run(request, choose_reporter(verbose), _Callback())
    if result.is_main_process:
        write_training_page(result)
    return result
