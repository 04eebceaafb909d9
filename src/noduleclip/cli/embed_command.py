"""`noduleclip embed`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import embedding_options, options, table_options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.positions import Position
from noduleclip.errors import UsageError


@with_option_groups
def embed(
    *,
    table: table_options.TableOptions,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out-dir",
            help="Folder for the index; with --store for rejects.csv and unfinished chunks.",
            rich_help_panel=options.OUTPUT,
        ),
        Position("OUT"),
    ] = None,
    store: embedding_options.Store = None,
    vector_index_from: embedding_options.VectorIndexFrom = None,
    model: embedding_options.Model = Path("lidc"),
    unit: table_options.Unit = "auto",
    patients_file: Annotated[
        Path | None,
        typer.Option(
            help="Patients to embed, one id a line. (default: all in the table)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    keep: table_options.Keep = None,
    img_size: Annotated[
        int | None,
        typer.Option(help="Crop size that the checkpoint must have; may be left out.", rich_help_panel=options.MODEL),
    ] = None,
    emb: Annotated[
        int | None,
        typer.Option(
            help="Embedding width that the checkpoint must have; may be left out.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    bs: embedding_options.BatchSize = 64,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Embed the I-th of N parts of the table only, for an array of jobs; noduleclip merge joins them.",
            rich_help_panel=options.RUNTIME,
        ),
    ] = None,
    device: options.DeviceName = "auto",
    views: embedding_options.Views = None,
    precision: embedding_options.Precision = "auto",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--engine",
            help="Where crops are cut and embedded: in this process, or in a pool of --workers Ray actors (extra ray).",
            rich_help_panel=options.RUNTIME,
        ),
    ] = "local",
    ray_address: Annotated[
        str,
        typer.Option(
            help="A Ray cluster: auto, or its address; local starts one on this machine.",
            rich_help_panel=options.RUNTIME,
        ),
    ] = "local",
    dry_run: table_options.DryRun = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Embed the nodules of a ROI table into an index: a folder or a store, that query and fuse read.

    After an interruption the same command continues from the finished chunks.

    Example: noduleclip embed rois.csv index
    """
    from noduleclip.report.console import CONSOLE
    from noduleclip.workflows.embed import embed_table, estimate_embedding
    from noduleclip.workflows.embed_job import EmbedRequest
    from noduleclip.workflows.index_target import choose_target

    if shard is not None and engine == "ray":
        raise UsageError("--shard and --engine ray both divide the work; give one of them")
    if engine == "local" and ray_address != "local":
        raise UsageError(f"--ray-address {ray_address} is of no use without --engine ray")
    target = choose_target(out_dir, store, vector_index_from, shard)
    request = EmbedRequest(
        table=table.request(keep or ()),
        target=target, model=model, unit=unit, patients_file=patients_file, img_size=img_size, emb=emb, bs=bs,
        device=device, views=views, precision=precision,
        ray_address=ray_address if engine == "ray" else None, overwrite=overwrite,
    )  # fmt: skip
    if not dry_run:
        embed_table(request, CONSOLE)
        return
    from noduleclip.report.check import report_check

    result = estimate_embedding(request, CONSOLE)
    if result is not None:
        report_check(result, enforce_limit=shard is None)  # the limit for shards is enforced by merge, which sees all
