"""`noduleclip merge`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import embedding_options, options, table_options
from noduleclip.cli.positions import Position


def merge(
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out-dir",
            help="The folder that embed --shard was given; with --store also that of an index.",
            rich_help_panel=options.INPUTS,
        ),
        Position("INDEX"),
    ],
    max_rejects: table_options.MaxRejects = 0.01,
    strict: table_options.Strict = False,
    store: embedding_options.Store = None,
    vector_index_from: embedding_options.VectorIndexFrom = None,
    remove_shards: Annotated[
        bool,
        typer.Option("--remove-shards", help="Remove the shards once they are joined.", rich_help_panel=options.OUTPUT),
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Join the shards that embed --shard wrote into one index: byte for byte that of a single process.

    With --store the rows go into a Lance store; an index in a folder without shards is copied there.

    Example: noduleclip merge index
    """
    from noduleclip.report.console import CONSOLE
    from noduleclip.workflows.index_target import choose_target
    from noduleclip.workflows.merge import MergeRequest
    from noduleclip.workflows.merge import merge as merge_shards

    request = MergeRequest(
        target=choose_target(out_dir, store, vector_index_from), max_rejects=0 if strict else max_rejects,
        remove_shards=remove_shards, overwrite=overwrite,
    )  # fmt: skip
    merge_shards(request, CONSOLE)
