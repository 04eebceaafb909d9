"""`noduleclip evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from noduleclip.cli import options

if TYPE_CHECKING:
    from noduleclip.workflows.evaluate import EvaluateRequest
    from noduleclip.workflows.evaluate_published import PublishedRequest

_PROTOCOL = "Protocol"


def evaluate(
    emb_dir: options.EmbDir,
    protocol: Annotated[
        Literal["default", "credanno", "proto-caps"],
        typer.Option(
            help="Own protocol, or estimated ratings by the rules of cRedAnno or Proto-Caps, beside the best "
            "constant, a reader and the published figures.",
            rich_help_panel=_PROTOCOL,
        ),
    ] = "default",
    readers: Annotated[
        Path | None,
        typer.Option(
            help="ROI table with every reader's row for the same nodules. (default: the index's own rows)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            "--queries-file",
            envvar="NODULECLIP_EVALUATE_QUERIES_FILE",
            help="Sentences to evaluate instead of the protocol's, one a line, each with a size or a rating.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate these scores, not the index's: a CSV with the column row and one column per sentence.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, help="Draws of the true reader, by the default protocol.", rich_help_panel=_PROTOCOL)
    ] = 50,
    resamples: Annotated[
        int, typer.Option(min=10, help="Bootstrap samples of patients.", rich_help_panel=_PROTOCOL)
    ] = 300,
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for evaluation.json and a page with plots.", rich_help_panel=options.OUTPUT),
    ] = None,
    overwrite: options.Overwrite = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help="Print all tables, of each sentence, size and rating, in place of the main figures.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
) -> None:
    """Evaluate the rankings of an index beside a second reader: ten sizes, ratings, and the panel.

    Rows of one nodule (nodule_id) on one slice are its readers; the first row's crop is ranked. Estimated sizes and
    ratings, their intervals and probabilities are compared with the readers, too.

    Example: noduleclip evaluate runs/first/test_readers --out report
    """
    from noduleclip.cli.retries import retry_replaced
    from noduleclip.report.console import CONSOLE
    from noduleclip.report.tables import choose_format
    from noduleclip.workflows.evaluate import EVALUATION_FILES, EvaluateRequest
    from noduleclip.workflows.evaluate_published import DEFAULT_PROTOCOL, PublishedRequest, refuse_sentences
    from noduleclip.workflows.output_lock import OVERWRITE, output_lock
    from noduleclip.workflows.stored_index import open_stored_index

    form = choose_format(output_format)
    refuse_sentences(protocol, queries, scores)

    def run() -> None:
        index = open_stored_index(emb_dir, reporter=CONSOLE)
        if protocol == DEFAULT_PROTOCOL:
            request = EvaluateRequest(
                index=index, queries=queries, readers_csv=readers, scores_csv=scores, draws=draws, resamples=resamples,
                seed=seed,
            )  # fmt: skip
            _run_default(request, form, out, verbose=verbose)
        else:
            published = PublishedRequest(
                index=index, protocol=protocol, readers_csv=readers, resamples=resamples, seed=seed
            )
            _run_published(published, form, out)

    with output_lock(out, EVALUATION_FILES, OVERWRITE, replace=overwrite, reporter=CONSOLE):
        retry_replaced(run)


def _run_default(request: "EvaluateRequest", form: str, out: Path | None, *, verbose: bool) -> None:
    from noduleclip.report.console import CONSOLE, log_info
    from noduleclip.report.evaluation import print_evaluation, write_evaluation
    from noduleclip.workflows.evaluate import evaluate as evaluate_index

    result = evaluate_index(request, CONSOLE)
    print_evaluation(result, form, verbose=verbose)
    if out is not None:
        log_info(f"report: {write_evaluation(result, out, CONSOLE)}")


def _run_published(request: "PublishedRequest", form: str, out: Path | None) -> None:
    from noduleclip.report.console import CONSOLE, log_info
    from noduleclip.report.published import print_published, write_published
    from noduleclip.workflows.evaluate_published import evaluate_published

    result = evaluate_published(request, CONSOLE)
    print_published(result, form)
    if out is not None:
        log_info(f"report: {write_published(result, out)}")
