"""`noduleclip merge`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip import schema
from noduleclip.cli import options


def merge(
    out_dir: Annotated[
        Path, typer.Option("--out-dir", help="The folder that embed --shard was given.", rich_help_panel=options.INPUTS)
    ],
    max_rejects: options.MaxRejects = 0.01,
    strict: options.Strict = False,
    remove_shards: Annotated[
        bool,
        typer.Option("--remove-shards", help="Remove the shards once they are joined.", rich_help_panel=options.OUTPUT),
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Join the shards that embed --shard made to one index, the same to the byte as one process makes it.

    Example: noduleclip merge --out-dir index
    """
    from noduleclip.cli.claim import claiming

    with claiming(out_dir, (schema.INDEX_MANIFEST,), "--overwrite replaces it", replace=overwrite):
        from noduleclip.cli.embedding import merge_index

        merge_index(out_dir, 0 if strict else max_rejects, remove_shards)
