"""`query` and `fuse`: from options to a search, and from its answers to stdout, `topk.csv` and pages."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from noduleclip import schema
from noduleclip.cli.pictures import PictureOptions, make_previews
from noduleclip.cli.retries import retry_replaced
from noduleclip.cli.search_options import SearchOptions
from noduleclip.cli.search_record import read_record, write_record
from noduleclip.cli.slice_folders import settle_slice_folders
from noduleclip.errors import ArtefactError, IndexReplacedError, UsageError
from noduleclip.io.artefacts import replacing
from noduleclip.io.index.base import Index
from noduleclip.io.text_table import format_csv
from noduleclip.report.columns import choose_columns, parse_columns
from noduleclip.report.console import CONSOLE, log_info, log_warning, write_lines
from noduleclip.report.tables import choose_format, print_hits
from noduleclip.workflows.command_lines import format_search
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.search import Searcher
from noduleclip.workflows.search_answer import Answer
from noduleclip.workflows.search_request import RowFilter, SearchRequest, choose_k, load_sentences
from noduleclip.workflows.stored_index import open_stored_index

if TYPE_CHECKING:  # a search without an export loads nothing of it
    from noduleclip.workflows.export_files import ExportTarget

_UNITS = ("mm", "cm")  # what the shell leaves of an unquoted `> 8 mm`
_NEEDS_QUOTES = "without quotes the shell takes > and < for itself"


def make_request(
    options: SearchOptions,
    *,
    like: str | None = None,
    like_weight: float = 0.5,
    min_probability: float | None = None,
    min_score: float | None = None,
    exact: bool = False,
) -> SearchRequest:
    """Return the request of the options.

    Raises:
        UsageError: There are no sentences, or two sources of them, or a value is not allowed.
        InputError: The file of sentences cannot be read.
    """
    if like is not None:
        _check_decoded("--like", like, "name a row")
    return SearchRequest(
        sentences=_read_sentences(options.query, options.queries_file, is_optional=like is not None),
        like=like,
        like_weight=like_weight,
        k=_parse_top_k(options.topk, has_cut_off=min_probability is not None or min_score is not None),
        filters=RowFilter(where=options.where or "", patients=options.patients_file),
        unique=options.unique,
        min_probability=min_probability,
        min_score=min_score,
        exact=exact,
        free_text=options.free_text,
    )


def run_search(
    request: SearchRequest,
    options: SearchOptions,
    settings: Mapping[str, Any],
    *,
    cache_dir: Path | None = None,
    choose_alpha: Callable[[Index], float] | None = None,
) -> None:
    """Answer every sentence.

    Args:
        request: What to search for.
        options: The index, and where the hits go.
        settings: The command's own options by name, for the record of the search.
        cache_dir: Folder of the exported model, for a nodule outside the index.
        choose_alpha: Chooses the weight of the image for the index; None = the request has it.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    pictures = PictureOptions(
        options.dicom_root, options.preview, options.html, options.contact_sheet, options.viewer_url
    )
    if pictures.writes_files:
        from noduleclip.cli.gallery import check_gallery

        check_gallery(pictures, replace=options.overwrite)
    targets: Sequence[ExportTarget] = ()
    if options.export:
        from noduleclip.workflows.export_files import check_exports

        targets = check_exports("--export", options.export, replace=options.overwrite)

    if options.columns is not None and (options.paths_only or options.preview):
        raise UsageError("--columns is for the table, CSV or JSON; leave out --paths-only and --preview")
    columns = parse_columns(options.columns)
    earlier = None if options.rerun is None else read_record(options.rerun)

    def search() -> None:
        index = open_stored_index(options.emb_dir, options.model, CONSOLE)
        if earlier is not None and earlier.generation != index.generation:
            log_warning(f"{index.location} was written anew since {earlier.date}: the hits may differ")
        wanted = request if choose_alpha is None else replace(request, alpha=choose_alpha(index))
        readings = _deliver_answers(index, wanted, options, columns, pictures, targets, cache_dir)
        if options.out is not None:
            command = "query" if request.alpha is None and choose_alpha is None else "fuse"
            by_name = {**vars(options), **settings}
            by_name["format"] = by_name.pop("output_format")
            write_record(options.out, index, command, readings, by_name)

    results = (schema.TOP_K_CSV, schema.SEARCH_RECORD)
    with output_lock(options.out, results, OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        retry_replaced(search)


def _deliver_answers(
    index: Index,
    request: SearchRequest,
    options: SearchOptions,
    columns: Sequence[str],
    pictures: PictureOptions,
    targets: "Sequence[ExportTarget]",
    cache_dir: Path | None,
) -> list[dict[str, Any]]:
    """Answer every sentence, and return how each was read."""
    if pictures.wanted or any(target.format.needs_places for target in targets):
        pictures = replace(pictures, folders=settle_slice_folders(index, pictures.given_folders))
    searcher = Searcher(index, model=options.model, cache_dir=cache_dir)
    batches = searcher.search(request, CONSOLE)
    if options.paths_only or choose_format(options.output_format) != "table":  # a table has them itself
        batches = _log_descriptions(batches)
    readings: list[dict[str, Any]] = []
    batches = _note_readings(batches, readings)
    with _delivering(index, options, columns, pictures) as deliver:
        if pictures.writes_files or targets:
            shown: list[Answer] = []
            for answers in batches:
                shown += answers
                if pictures.writes_files:
                    from noduleclip.cli.gallery import refuse_many_hits

                    refuse_many_hits(shown)
            if pictures.writes_files:
                from noduleclip.cli.gallery import write_gallery

                command = format_search(
                    request, options.emb_dir, model=options.model, queries_file=options.queries_file
                )
                write_gallery(index, shown, pictures, command)
            if targets:
                from noduleclip.workflows.export import export_hits

                for file in export_hits(targets, index, shown, pictures.folders, CONSOLE):
                    log_info(file.describe("hit"))
            deliver(shown)
            return readings
        delivered = False
        try:
            for answers in batches:
                deliver(answers)
                delivered = True
        except IndexReplacedError as error:
            if delivered:  # what was printed cannot be taken back, so the search must not start again
                raise ArtefactError(str(error)) from error
            raise
    return readings


def _note_readings(batches: Iterator[list[Answer]], readings: list[dict[str, Any]]) -> Iterator[list[Answer]]:
    """Collect the sentence, the reading and the number of hits of each answer."""
    for answers in batches:
        for answer in answers:
            ranking = answer.ranking
            readings.append({"sentence": ranking.question, "read_as": ranking.description, "hits": answer.hits.height})
        yield answers


def _log_descriptions(batches: Iterator[list[Answer]]) -> Iterator[list[Answer]]:
    """Print how each sentence was understood."""
    for answers in batches:
        for answer in answers:
            summary = answer.ranking.summary
            log_info(f"{answer.ranking.description}; {summary}" if summary else answer.ranking.description)
        yield answers


def _parse_top_k(text: str, *, has_cut_off: bool) -> int | None:
    if text == "auto":
        return choose_k("auto", has_cut_off=has_cut_off)
    if text == "all":
        return None
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--topk must be a number from 1, all or auto, got {text[:50]!r}")
    return int(text)


def _read_sentences(query: str | None, queries_file: Path | None, *, is_optional: bool) -> list[str]:
    if is_optional and query is None and queries_file is None:
        return []
    if query is not None and queries_file is not None:
        raise UsageError("a sentence and --queries-file: give one of them, not both")
    if query is None and queries_file is None:
        raise UsageError(
            'give a sentence after the index or with --query "…", or many with --queries-file FILE; ' + _NEEDS_QUOTES
        )
    if query is not None and query.strip().lower() in _UNITS:
        raise UsageError(f"{query!r} is a unit without a size; {_NEEDS_QUOTES}")
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
def _delivering(
    index: Index, options: SearchOptions, columns: Sequence[str], pictures: PictureOptions
) -> Iterator[Callable[[Sequence[Answer]], None]]:
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
            choose_columns(hits, columns)  # reports an unknown name before anything is written
            if file is not None:
                file.write(format_csv(hits, header=batches == 0).encode())
            previews = make_previews(index, answers, pictures, form)
            if form is None:
                new = {path: None for answer in answers for path in answer.hits[schema.DICOM_PATH] if path not in paths}
                paths.update(new)
                write_lines(new)
            else:
                print_hits(answers, form, previews, header=batches == 0, columns=columns)
            batches, count = batches + 1, count + hits.height

        yield deliver
        if options.out is not None:  # a record of other hits is never beside these
            (options.out / schema.SEARCH_RECORD).unlink(missing_ok=True)
    if options.out is not None:
        log_info(f"{count} hits in {options.out / schema.TOP_K_CSV}")
