"""`noduleclip train`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip import schema
from noduleclip.cli import options
from noduleclip.config import MAX_PIXELS, Amp, CropConfig, ModelConfig, TrainConfig

_TRAIN, _MODEL, _CROP = TrainConfig(), ModelConfig(), CropConfig()
TRAIN_FILES = (
    schema.BEST_CHECKPOINT,
    schema.LAST_CHECKPOINT,
    schema.METRICS_LOG,
    schema.RUN_RECORD,
    schema.TRAINING_PAGE,
)


def train(
    roi_csv: options.RoiCsv,
    train_patients: Annotated[
        Path, typer.Option(help="Training patients, one id a line.", rich_help_panel=options.INPUTS)
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for clip_best.pth and the records of the run.", rich_help_panel=options.OUTPUT),
    ],
    val_patients: Annotated[
        Path | None,
        typer.Option(
            help="Validation patients, one id a line: they choose the epoch. (default: none, keep the last one)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    dicom_root: options.DicomRoot = None,
    assume_hu: options.AssumeHu = False,
    restrict_to_root: options.RestrictToRoot = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    limit: options.Limit = None,
    max_rejects: options.MaxRejects = 0.01,
    strict: options.Strict = False,
    img_size: Annotated[
        int, typer.Option(help="Side of a crop in pixels.", rich_help_panel=options.MODEL)
    ] = _CROP.size_px,
    fov_mm: Annotated[
        float, typer.Option(help="Side of a crop in millimetres.", rich_help_panel=options.MODEL)
    ] = _CROP.fov_mm,
    emb: Annotated[
        int, typer.Option(help="Width of the shared embedding.", rich_help_panel=options.MODEL)
    ] = _MODEL.emb,
    backbone: Annotated[
        str, typer.Option(help="Image encoder: the name of any timm model.", rich_help_panel=options.MODEL)
    ] = _MODEL.backbone,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Start from the backbone's published weights; timm fetches them once.",
            rich_help_panel=options.MODEL,
        ),
    ] = False,
    views: Annotated[
        int,
        typer.Option(help="Rotations and flips averaged by embed: 1 or 8.", rich_help_panel=options.MODEL),
    ] = _MODEL.views,
    epochs: Annotated[
        int, typer.Option(help="Passes over the training nodules.", rich_help_panel=options.OPTIMISATION)
    ] = _TRAIN.epochs,
    bs: Annotated[
        int,
        typer.Option(
            help="Nodules in an optimiser step, of all processes together.", rich_help_panel=options.OPTIMISATION
        ),
    ] = _TRAIN.bs,
    accumulate: Annotated[
        int,
        typer.Option(help="Parts in which a step is computed, to save memory.", rich_help_panel=options.OPTIMISATION),
    ] = _TRAIN.accumulate,
    lr: Annotated[float, typer.Option(help="Peak learning rate.", rich_help_panel=options.OPTIMISATION)] = _TRAIN.lr,
    weight_decay: Annotated[
        float, typer.Option(help="AdamW's weight decay.", rich_help_panel=options.OPTIMISATION)
    ] = _TRAIN.weight_decay,
    warmup_epochs: Annotated[
        float, typer.Option(help="Epochs of linear warm-up.", rich_help_panel=options.OPTIMISATION)
    ] = _TRAIN.warmup_epochs,
    cooldown_epochs: Annotated[
        int,
        typer.Option(
            help="The last epochs, at most a tenth of them, go without stretching.",
            rich_help_panel=options.OPTIMISATION,
        ),
    ] = _TRAIN.cooldown_epochs,
    prompts: Annotated[
        int, typer.Option(help="Sentences about size sampled for each step.", rich_help_panel=options.OPTIMISATION)
    ] = _TRAIN.prompts,
    rating_prompts: Annotated[
        int,
        typer.Option(
            help="Sentences about readers' ratings sampled for each step, where the table has any; 0 = sizes alone.",
            rich_help_panel=options.OPTIMISATION,
        ),
    ] = _TRAIN.rating_prompts,
    rating_weight: Annotated[
        float, typer.Option(help="Weight of the loss of those.", rich_help_panel=options.OPTIMISATION)
    ] = _TRAIN.rating_weight,
    outline_weight: Annotated[
        float,
        typer.Option(
            help="Weight of learning the readers' outlines; 0 = diameters alone.",
            rich_help_panel=options.OPTIMISATION,
        ),
    ] = _TRAIN.outline_weight,
    ema_decay: Annotated[
        float,
        typer.Option(help="Decay per step of the averaged weights; 0 = none.", rich_help_panel=options.OPTIMISATION),
    ] = _TRAIN.ema_decay,
    max_zoom: Annotated[
        float, typer.Option(help="Largest random zoom, diameters included.", rich_help_panel=options.OPTIMISATION)
    ] = _TRAIN.max_zoom,
    max_stretch: Annotated[
        float,
        typer.Option(
            help="Largest random stretch in one direction; diameters follow the outlines.",
            rich_help_panel=options.OPTIMISATION,
        ),
    ] = _TRAIN.max_stretch,
    max_shift_mm: Annotated[
        float,
        typer.Option(help="Largest random shift of a crop's centre.", rich_help_panel=options.OPTIMISATION),
    ] = _TRAIN.max_shift_mm,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better validation. (default: never)",
            rich_help_panel=options.OPTIMISATION,
        ),
    ] = _TRAIN.patience,
    amp: Annotated[Amp, typer.Option(help="Mixed precision on CUDA.", rich_help_panel=options.RUNTIME)] = _TRAIN.amp,
    device: options.DeviceName = "auto",
    workers: options.Workers = "auto",
    cache_dir: options.CacheDir = None,
    seed: options.Seed = _TRAIN.seed,
    dry_run: options.DryRun = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from last.pth in --out.", rich_help_panel=options.OUTPUT)
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Train an image and a text encoder on nodule crops and on sentences about their size.

    Rows of one nodule (column nodule_id) on one slice are one sample with several readers.

    Example: noduleclip train --roi-csv rois.csv --train-patients splits/train_patients.txt
    --val-patients splits/val_patients.txt --out runs/first
    """
    arguments = dict(locals())
    from noduleclip.cli.together import joining
    from noduleclip.io.patients import read_patient_list, refuse_overlap
    from noduleclip.report.console import CONSOLE
    from noduleclip.workflows.output_lock import output_lock
    from noduleclip.workflows.roi_crops import TableRequest

    with joining() as team:
        crop = CropConfig(fov_mm=fov_mm, size_px=img_size)
        model = ModelConfig(backbone=backbone, emb=emb, views=views, crop=crop)
        config = TrainConfig(
            epochs=epochs, bs=bs, accumulate=accumulate, lr=lr, weight_decay=weight_decay, warmup_epochs=warmup_epochs,
            prompts=prompts, rating_prompts=rating_prompts, rating_weight=rating_weight, outline_weight=outline_weight,
            ema_decay=ema_decay, max_zoom=max_zoom, max_stretch=max_stretch, max_shift_mm=max_shift_mm,
            cooldown_epochs=cooldown_epochs, patience=patience, amp=amp, seed=seed,
        )  # fmt: skip
        patient_lists = [train_patients]
        if val_patients is not None:
            lists = {"--train-patients": train_patients, "--val-patients": val_patients}
            refuse_overlap({option: read_patient_list(file) for option, file in lists.items()})
            patient_lists.append(val_patients)
        table = TableRequest(
            roi_csv, dicom_root, max_rejects, strict, assume_hu, cache_dir, workers, limit,
            restrict_to_root=restrict_to_root, max_pixels=max_pixels,
        )  # fmt: skip
        folder = out if not dry_run and (team is None or team.leads) else None
        remedy = "--resume goes on from it, --overwrite starts again"
        partial = (schema.REJECTS_CSV,)
        with output_lock(folder, TRAIN_FILES, remedy, replace=resume or overwrite, partial=partial, reporter=CONSOLE):
            from noduleclip.cli.training import rehearse_training, run_training

            if dry_run and (team is None or team.leads):
                rehearse_training(table, patient_lists, model, config, device, pretrained)
            elif not dry_run:
                run_training(table, patient_lists, model, config, out, arguments, device, resume, pretrained, team)
