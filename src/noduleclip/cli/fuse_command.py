"""`noduleclip fuse`."""

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import typer

from noduleclip.cli import options, search_options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.config import ALPHA, SOFTNESS_MM
from noduleclip.errors import UsageError


@with_option_groups
def fuse(
    *,
    search: search_options.SearchOptions,
    alpha: Annotated[
        str,
        typer.Option(
            help="Weight of the image in [0, 1], the rest is the diameter's; auto chooses it on --val-emb-dir.",
            rich_help_panel=options.RANKING,
        ),
    ] = f"{ALPHA:g}",
    softness_mm: Annotated[
        float,
        typer.Option(
            min=0,
            help="How far outside the interval a diameter still counts; 0 = a hard filter.",
            rich_help_panel=options.RANKING,
        ),
    ] = SOFTNESS_MM,
    rule: Annotated[
        Literal["measured", "estimated"],
        typer.Option(
            help="What is weighed beside the image: measured diameters and ratings alone, or estimates, too, where "
            "none were measured.",
            rich_help_panel=options.RANKING,
        ),
    ] = "measured",
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            min=0,
            max=1,
            help="Return the nodules with at least this score.",
            rich_help_panel=options.RANKING,
        ),
    ] = None,
    val_emb_dir: Annotated[
        str | None,
        typer.Option(
            help="Index of validation patients with several readers' rows per nodule, for --alpha auto.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
) -> None:
    """Rank the nodules by the image and the measured diameter together.

    score = alpha * probability + (1 - alpha) * rule. The probability is the share of readers who are expected to
    agree with the sentence; the rule is 1 inside the interval and falls off outside. The explorer ranks like this.

    Example: noduleclip fuse runs/first/test "> 10 mm" --alpha 0.3
    """
    weight = None if alpha == "auto" else _parse_alpha(alpha)
    if weight is None and val_emb_dir is None:
        raise UsageError("--alpha auto needs --val-emb-dir: an index of validation patients, read by several readers")
    from noduleclip.cli.search import make_request, run_search

    request = replace(make_request(search, min_score=min_score), alpha=weight, softness_mm=softness_mm, rule=rule)
    choose_alpha = None
    if weight is None and val_emb_dir is not None:
        from noduleclip.report.console import CONSOLE
        from noduleclip.workflows.alpha import choose_alpha_on

        choose_alpha = partial(choose_alpha_on, val_emb_dir, softness_mm=softness_mm, reporter=CONSOLE)
    settings = {
        "alpha": alpha, "softness_mm": softness_mm, "rule": rule, "min_score": min_score, "val_emb_dir": val_emb_dir,
    }  # fmt: skip
    run_search(request, search, settings, choose_alpha=choose_alpha)


def _parse_alpha(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"--alpha must be a number in [0, 1], or auto, got {text!r}")
    return value
