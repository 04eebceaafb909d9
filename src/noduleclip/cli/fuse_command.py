"""`noduleclip fuse`."""

from dataclasses import replace
from typing import Annotated

import typer

from noduleclip.cli import options
from noduleclip.config import SOFTNESS_MM
from noduleclip.errors import UsageError


def fuse(
    emb_dir: options.EmbDir,
    query: options.Query = None,
    queries_file: options.QueriesFile = None,
    model: options.IndexModel = None,
    alpha: Annotated[
        str,
        typer.Option(
            help="Weight of the image in [0, 1], the rest is the diameter's; auto chooses it on --val-emb-dir.",
            rich_help_panel=options.RANKING,
        ),
    ] = "0.5",
    softness_mm: Annotated[
        float,
        typer.Option(
            min=0,
            help="How far outside the interval a diameter still counts; 0 = a hard filter.",
            rich_help_panel=options.RANKING,
        ),
    ] = SOFTNESS_MM,
    val_emb_dir: Annotated[
        str | None,
        typer.Option(
            help="Index of validation patients with several readers' rows per nodule, for --alpha auto.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    topk: options.TopK = 10,
    where: options.Where = None,
    unique: options.Unique = None,
    patients_file: options.PatientsFilter = None,
    dicom_root: options.PictureRoot = None,
    html: options.Html = None,
    contact_sheet: options.ContactSheet = None,
    viewer_url: options.ViewerUrl = None,
    out: options.QueryOut = None,
    output_format: options.OutputFormat = "auto",
    paths_only: options.PathsOnly = False,
    preview: options.Preview = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Rank the nodules of an index by the image and the measured diameter together.

    score = alpha * cosine + (1 - alpha) * rule. The cosine column is the probability that the encoders give,
    the rule is 1 inside the interval and falls off outside.

    Example: noduleclip fuse --emb-dir runs/first/test --query "> 10 mm" --alpha 0.3
    """
    weight = None if alpha == "auto" else _parse_alpha(alpha)
    if weight is None and val_emb_dir is None:
        raise UsageError("--alpha auto needs --val-emb-dir: an index of validation patients, read by several readers")
    from noduleclip.cli.pictures import PictureOptions
    from noduleclip.cli.search import SearchOptions, make_request, run_search

    request = make_request(query, queries_file, topk=topk, where=where, unique=unique, patients_file=patients_file)
    pictures = PictureOptions(dicom_root, preview, html=html, contact_sheet=contact_sheet, viewer_url=viewer_url)
    run_search(
        replace(request, alpha=weight, softness_mm=softness_mm),
        SearchOptions(
            emb_dir=emb_dir, model=model, queries_file=queries_file, out=out, output_format=output_format,
            paths_only=paths_only, overwrite=overwrite, pictures=pictures,
            val_emb_dir=val_emb_dir if weight is None else None,
        ),
    )  # fmt: skip


def _parse_alpha(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"--alpha must be a number in [0, 1], or auto, got {text!r}")
    return value
