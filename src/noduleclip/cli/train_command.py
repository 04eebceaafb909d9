"""`noduleclip train`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options, table_options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.positions import Position
from noduleclip.config import ModelConfig, TrainConfig
from noduleclip.machine import find_process_info, require_training_libraries


@with_option_groups
def train(
    *,
    table: table_options.TableOptions,
    train_patients: Annotated[
        Path, typer.Option(help="Training patients, one id a line.", rich_help_panel=options.INPUTS)
    ],
    val_patients: Annotated[
        Path | None,
        typer.Option(
            help="Validation patients, one id a line: they choose the epoch. (default: none, keep the last epoch)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for clip_best.pth and the records of the run.", rich_help_panel=options.OUTPUT),
        Position("OUT"),
    ],
    model: ModelConfig,
    config: TrainConfig,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Start from the backbone's published weights; timm fetches them once.",
            rich_help_panel=options.MODEL,
        ),
    ] = False,
    device: options.DeviceName = "auto",
    dry_run: table_options.DryRun = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from last.pth in OUT.", rich_help_panel=options.OUTPUT)
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Train the encoders on nodule crops and on sentences about their size.

    Rows of one nodule (column nodule_id) on one slice are one sample with several readers.

    Example: noduleclip train rois.csv runs/first --train-patients splits/train_patients.txt
    --val-patients splits/val_patients.txt
    """
    process = find_process_info()
    require_training_libraries("train")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # else torch prints its C++ stack when a connection breaks
    from noduleclip.report.check import report_check
    from noduleclip.report.console import CONSOLE
    from noduleclip.report.training import TrainingDisplay
    from noduleclip.report.training_page import write_training_page
    from noduleclip.workflows.train import train as run
    from noduleclip.workflows.train_request import TrainRequest
    from noduleclip.workflows.training_plan import plan_training

    request = TrainRequest(
        table=table.request(),
        train_patients=train_patients, val_patients=val_patients, out=out, model=model, config=config,
        pretrained=pretrained, device=device, resume=resume, overwrite=overwrite,
    )  # fmt: skip
    if dry_run:
        if process.is_main_process:
            report_check(plan_training(request, CONSOLE))
        return
    with TrainingDisplay(config.epochs) as display:
        result = run(request, CONSOLE, display)
    if result.is_main_process:
        write_training_page(result, CONSOLE)
