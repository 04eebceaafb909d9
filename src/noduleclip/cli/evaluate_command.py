"""`noduleclip evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options


def evaluate(
    emb_dir: options.EmbDir,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            "--queries-file",
            help="Sentences to judge instead of the ten, one a line, each with a size.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of the reader who judges.", rich_help_panel="Protocol")] = 50,
    resamples: Annotated[
        int, typer.Option(min=10, help="Bootstrap samples of patients.", rich_help_panel="Protocol")
    ] = 300,
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
) -> None:
    """Judge the ranking of an index on the ten size queries, beside a second reader and the panel of readers.

    Rows of one nodule (nodule_id) on one slice are its readers; the first row's crop is ranked.

    Example: noduleclip evaluate --emb-dir runs/first/test_readers
    """
    from noduleclip.cli.evaluation import run_evaluation
    from noduleclip.report.tables import choose_format

    run_evaluation(emb_dir, queries, draws, resamples, seed, choose_format(output_format))
