"""`noduleclip merge`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip import schema
from noduleclip.cli import options


def merge(
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out-dir",
            help="The folder that embed --shard was given; with --store also that of an index.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    max_rejects: options.MaxRejects = 0.01,
    strict: options.Strict = False,
    store: options.Store = None,
    vector_index_from: options.VectorIndexFrom = None,
    remove_shards: Annotated[
        bool,
        typer.Option("--remove-shards", help="Remove the shards once they are joined.", rich_help_panel=options.OUTPUT),
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Join the shards that embed --shard made to one index, the same to the byte as one process makes it.

    With --store the rows go into a Lance store; an index in a folder without shards is copied there.

    Example: noduleclip merge --out-dir index
    """
    from noduleclip.report.console import CONSOLE
    from noduleclip.workflows.index_target import choose_target, target_lock

    target, joins = choose_target(out_dir, store, vector_index_from), (out_dir / schema.SHARDS_FOLDER).is_dir()
    results = (schema.INDEX_MANIFEST,)
    with target_lock(target, results, replace=overwrite, writes_rejects=joins, reporter=CONSOLE):
        from noduleclip.cli.merging import merge_index

        merge_index(target, 0 if strict else max_rejects, remove_shards)
