"""`noduleclip query`."""

from typing import Annotated

import typer

from noduleclip.cli import options, search_options
from noduleclip.cli.option_groups import with_option_groups


@with_option_groups
def query(
    *,
    search: search_options.SearchOptions,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="ROW|PATH[:x,y]",
            help="Find nodules similar to this one: a row of the index, or a slice and a place on it in pixels.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    like_weight: Annotated[
        float,
        typer.Option(min=0, max=1, help="Weight of --like beside a sentence.", rich_help_panel=options.RANKING),
    ] = 0.5,
    min_probability: Annotated[
        float | None,
        typer.Option(
            "--min-probability",
            min=0,
            max=1,
            help="Return the nodules with at least this probability: the share of readers that the model expects to "
            "agree with the sentence. How well such probabilities hold is in the model card of the documentation.",
            rich_help_panel=options.RANKING,
        ),
    ] = None,
    exact: search_options.Exact = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Rank the nodules of an index for a sentence, or by likeness to one.

    With --like the nodule itself, and what other readers outlined of it, are not among the hits.

    Example: noduleclip query runs/first/test "a lung nodule with diameter > 6 mm" --topk 20
    """
    from noduleclip.cli.search import make_request, run_search

    request = make_request(search, like=like, like_weight=like_weight, min_probability=min_probability, exact=exact)
    settings = {
        "like": like, "like_weight": like_weight, "min_probability": min_probability, "exact": exact,
        "cache_dir": cache_dir,
    }  # fmt: skip
    run_search(request, search, settings, cache_dir=cache_dir)
