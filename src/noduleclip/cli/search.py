"""`query` and `fuse`: from options to a search, and from its answers to stdout, `topk.csv` and pages."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.cli.pictures import PictureOptions, make_previews
from noduleclip.cli.retries import retry_replaced
from noduleclip.cli.slice_folders import settle_slice_folders
from noduleclip.errors import ArtefactError, IndexReplacedError, UsageError
from noduleclip.io.artefacts import replacing
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.io.text_table import format_csv
from noduleclip.report.console import CONSOLE, log_info, write_lines
from noduleclip.report.tables import choose_format, print_hits
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.search import Answer, Searcher
from noduleclip.workflows.search_request import RowFilter, SearchRequest, format_command, load_sentences
from noduleclip.workflows.text_encoder import check_model


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Which index is searched, and where the hits go.

    Attributes:
        emb_dir: The index.
        model: Checkpoint that must have made the embeddings.
        queries_file: File that the sentences come from.
        out: Folder for `topk.csv`.
        output_format: Format of stdout; "auto" is a table on a terminal, else CSV.
        paths_only: Print DICOM paths only.
        overwrite: Replace results that are there.
        pictures: How hits are shown as pictures.
        cache_dir: Folder of the exported model, for a nodule outside the index.
        val_emb_dir: Index of validation patients, on which `alpha` is chosen.
    """

    emb_dir: str
    model: Path | None
    queries_file: Path | None
    out: Path | None
    output_format: str
    paths_only: bool
    overwrite: bool
    pictures: PictureOptions
    cache_dir: Path | None = None
    val_emb_dir: str | None = None


def make_request(
    query: str | None,
    queries_file: Path | None,
    *,
    topk: int,
    where: str | None,
    unique: str | None,
    patients_file: Path | None,
    like: str | None = None,
    like_weight: float = 0.5,
    exact: bool = False,
) -> SearchRequest:
    """Return the request of the options that `query` and `fuse` share.

    Raises:
        UsageError: There are no sentences, or two sources of them, or a value is not allowed.
        InputError: The file of sentences cannot be read.
    """
    if like is not None:
        _check_decoded("--like", like, "name a row")
    return SearchRequest(
        sentences=_read_sentences(query, queries_file, is_optional=like is not None),
        like=like,
        like_weight=like_weight,
        k=topk,
        filters=RowFilter(where=where or "", patients=patients_file),
        unique=unique,
        exact=exact,
    )


def run_search(request: SearchRequest, options: SearchOptions) -> None:
    """Answer every sentence.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    if options.pictures.writes_files:
        from noduleclip.cli.gallery import check_gallery

        check_gallery(options.pictures, replace=options.overwrite)
    with output_lock(options.out, (schema.TOP_K_CSV,), OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        retry_replaced(lambda: _search(request, options))


def _search(request: SearchRequest, options: SearchOptions) -> None:
    index = open_index(options.emb_dir)
    check_model(index, options.model)
    if options.val_emb_dir is not None:
        from noduleclip.workflows.alpha import choose_alpha_on

        request = replace(request, alpha=choose_alpha_on(options.val_emb_dir, index, request.softness_mm, CONSOLE))
    if options.pictures.wanted:
        folders = settle_slice_folders(index, options.pictures.given_folders)
        options = replace(options, pictures=replace(options.pictures, folders=folders))
    searcher = Searcher(index, model=options.model, cache_dir=options.cache_dir)
    batches = _log_descriptions(searcher.search(request, CONSOLE))
    with _delivering(index, options) as deliver:
        if options.pictures.writes_files:
            from noduleclip.cli.gallery import refuse_many_hits, write_gallery

            shown: list[Answer] = []
            for answers in batches:
                shown += answers
                refuse_many_hits(shown)
            command = format_command(request, options.emb_dir, model=options.model, queries_file=options.queries_file)
            write_gallery(index, shown, options.pictures, command)
            deliver(shown)
            return
        delivered = False
        try:
            for answers in batches:
                deliver(answers)
                delivered = True
        except IndexReplacedError as error:
            if delivered:  # what was printed cannot be taken back, so the search must not start again
                raise ArtefactError(str(error)) from error
            raise


def _log_descriptions(batches: Iterator[list[Answer]]) -> Iterator[list[Answer]]:
    """Print how each sentence was understood."""
    for answers in batches:
        for answer in answers:
            log_info(answer.ranking.description)
        yield answers


def _read_sentences(query: str | None, queries_file: Path | None, *, is_optional: bool) -> list[str]:
    if is_optional and query is None and queries_file is None:
        return []
    if (query is None) == (queries_file is None):
        raise UsageError('give a sentence with --query "…", or many with --queries-file FILE, not both')
    if query is not None:
        _check_decoded("--query", query, "write >=")
        return [query]
    assert queries_file is not None
    return load_sentences(queries_file)


def _check_decoded(option: str, text: str, remedy: str) -> None:
    """Check that the bytes of a text from the command line are characters in this locale.

    Raises:
        UsageError: They are not.
    """
    if any("\udc80" <= character <= "\udcff" for character in text):
        raise UsageError(f"{option} has characters that this locale cannot read; set LC_ALL=C.UTF-8, or {remedy}")


@contextlib.contextmanager
def _delivering(index: Index, options: SearchOptions) -> Iterator[Callable[[Sequence[Answer]], None]]:
    """Yield a function that writes answers to stdout and to `topk.csv`, which appears whole after the last batch."""
    form = None if options.paths_only else choose_format(options.output_format)
    batches, count = 0, 0
    paths: dict[str, None] = {}
    with contextlib.ExitStack() as stack:
        file = None
        if options.out is not None:
            file = stack.enter_context(stack.enter_context(replacing(options.out / schema.TOP_K_CSV)).open("wb"))

        def deliver(answers: Sequence[Answer]) -> None:
            nonlocal batches, count
            hits = pl.concat([answer.hits for answer in answers])
            if file is not None:
                file.write(format_csv(hits, header=batches == 0).encode())
            previews = make_previews(index, answers, options.pictures, form)
            if form is None:
                new = {path: None for answer in answers for path in answer.hits[schema.DICOM_PATH] if path not in paths}
                paths.update(new)
                write_lines(new)
            else:
                print_hits(answers, form, previews, header=batches == 0)
            batches, count = batches + 1, count + hits.height

        yield deliver
    if options.out is not None:
        log_info(f"{count} hits in {options.out / schema.TOP_K_CSV}")
