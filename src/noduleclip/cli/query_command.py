"""`noduleclip query`."""

from typing import Annotated

import typer

from noduleclip.cli import options


def query(
    emb_dir: options.EmbDir,
    query: options.Query = None,
    queries_file: options.QueriesFile = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="ROW|PATH[:x,y]",
            help="Find nodules similar to this one: a row of the index, or a slice and a place on it in pixels.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    model: options.IndexModel = None,
    topk: options.TopK = 10,
    like_weight: Annotated[
        float,
        typer.Option(min=0, max=1, help="Weight of --like beside a sentence.", rich_help_panel=options.RANKING),
    ] = 0.5,
    where: options.Where = None,
    unique: options.Unique = None,
    patients_file: options.PatientsFilter = None,
    exact: options.Exact = False,
    dicom_root: options.PictureRoot = None,
    html: options.Html = None,
    contact_sheet: options.ContactSheet = None,
    viewer_url: options.ViewerUrl = None,
    out: options.QueryOut = None,
    output_format: options.OutputFormat = "auto",
    paths_only: options.PathsOnly = False,
    preview: options.Preview = False,
    overwrite: options.Overwrite = False,
    cache_dir: options.CacheDir = None,
) -> None:
    """Rank the nodules of an index for a sentence, by what their images show, or by likeness to one of them.

    With --like the nodule itself, and what other readers outlined of it, are not among the hits.

    Example: noduleclip query --emb-dir runs/first/test --query "a lung nodule with diameter > 6 mm" --topk 20
    """
    from noduleclip.cli.pictures import PictureOptions
    from noduleclip.cli.search import SearchOptions, make_request, run_search

    request = make_request(
        query, queries_file, topk=topk, where=where, unique=unique, patients_file=patients_file, like=like,
        like_weight=like_weight, exact=exact,
    )  # fmt: skip
    pictures = PictureOptions(dicom_root, preview, html=html, contact_sheet=contact_sheet, viewer_url=viewer_url)
    run_search(
        request,
        SearchOptions(
            emb_dir=emb_dir, model=model, queries_file=queries_file, out=out, output_format=output_format,
            paths_only=paths_only, overwrite=overwrite, pictures=pictures, cache_dir=cache_dir,
        ),
    )  # fmt: skip
