"""`query` and `fuse`: from options to a search, and from its results to stdout, `topk.csv` and pages."""

import contextlib
import itertools
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from noduleclip.language.query import list_attributes
from noduleclip.report.console import CONSOLE, log_info, write_lines
from noduleclip.report.tables import Answer, choose_format, print_hits
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.search import (
    RowFilter,
    Searcher,
    SearchRequest,
    SearchResult,
    check_model,
    load_sentences,
    open_text_encoder,
    split_sentences,
)
from noduleclip.workflows.similar import Reference, find_reference


@dataclass(frozen=True)
class LikeOptions:
    """The nodule that the hits are to resemble, and its weight beside a sentence."""

    text: str
    weight: float
    cache_dir: Path | None


@dataclass(frozen=True)
class SearchOptions:
    """What to search for, among which rows, and where the hits go."""

    emb_dir: str
    model: Path | None
    query: str | None
    queries_file: Path | None
    topk: int
    where: str | None
    unique: str | None
    patients_file: Path | None
    out: Path | None
    output_format: str
    paths_only: bool
    overwrite: bool
    pictures: PictureOptions = field(default_factory=PictureOptions)
    like: LikeOptions | None = None
    exact: bool = False


@dataclass(frozen=True)
class FusionOptions:
    """How measured diameters and ratings are mixed in: `alpha` times the image, the rest by the rule.

    Attributes:
        alpha: Weight of the image; None = the best one on `val_emb_dir`.
        softness_mm: Width over which the rule falls off.
        val_emb_dir: Index of validation patients.
    """

    alpha: float | None
    softness_mm: float
    val_emb_dir: str | None = None


def run_search(options: SearchOptions, fusion: FusionOptions | None = None) -> None:
    """Answer every sentence.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    sentences = _read_sentences(options)
    if options.pictures.writes_files:
        from noduleclip.cli.gallery import check_gallery

        check_gallery(options.pictures, replace=options.overwrite)
    with output_lock(options.out, (schema.TOP_K_CSV,), OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        retry_replaced(lambda: _search(options, fusion, sentences))


def _search(options: SearchOptions, fusion: FusionOptions | None, sentences: Sequence[str]) -> None:
    index = open_index(options.emb_dir)
    check_model(index, options.model)
    if fusion is not None and fusion.alpha is None:
        from noduleclip.workflows.alpha import choose_alpha_on

        assert fusion.val_emb_dir is not None
        fusion = replace(fusion, alpha=choose_alpha_on(fusion.val_emb_dir, index, fusion.softness_mm, CONSOLE))
    if options.pictures.wanted:
        folders = settle_slice_folders(index, options.pictures.given_folders)
        options = replace(options, pictures=replace(options.pictures, folders=folders))
    reference = _find_reference(index, options)
    searcher = Searcher(index, open_text_encoder(index) if sentences else None)
    batches = _answer(searcher, _make_request(options, fusion, sentences, reference), reference)
    with _delivering(index, options) as deliver:
        if options.pictures.writes_files:
            from noduleclip.cli.gallery import refuse_many_hits, write_gallery

            shown: list[Answer] = []
            for answers in batches:
                shown += answers
                refuse_many_hits(shown)
            write_gallery(index, shown, options.pictures, _type_command(options, fusion))
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


def _find_reference(index: Index, options: SearchOptions) -> Reference | None:
    like = options.like
    if like is None:
        return None
    _check_decoded("--like", like.text, "name a row")
    return find_reference(index, like.text, model=options.model, cache_dir=like.cache_dir, reporter=CONSOLE)


def _make_request(
    options: SearchOptions, fusion: FusionOptions | None, sentences: Sequence[str], reference: Reference | None
) -> SearchRequest:
    request = SearchRequest(
        sentences=sentences,
        reference=reference,
        k=options.topk,
        filters=RowFilter(where=options.where or "", patients=options.patients_file),
        unique=options.unique,
        exact=options.exact,
    )
    if options.like is not None:
        request = replace(request, like_weight=options.like.weight)
    if fusion is not None:
        request = replace(request, alpha=fusion.alpha, softness_mm=fusion.softness_mm)
    return request


def _answer(searcher: Searcher, request: SearchRequest, reference: Reference | None) -> Iterator[list[Answer]]:
    """Yield the answers in batches that fit into memory, and print how each sentence was understood."""
    facts = None if reference is None else reference.facts
    results, is_first = searcher.search(request, CONSOLE), True
    for sentences in split_sentences(request.sentences, min(request.k, searcher.index.manifest.rows)):
        batch: list[SearchResult] = []
        for result in itertools.islice(results, max(1, len(sentences))):
            if is_first and result.distinct is not None and result.distinct < request.k:
                what = "rows" if request.unique is None else f"of one {request.unique} each"
                log_info(f"note: {request.k} hits were asked for, there are {result.distinct} {what} to rank")
            is_first = False
            log_info(result.description)
            batch.append(result)
        tables = searcher.describe(batch)
        yield [
            Answer(result.question, result.description, list_attributes([result.parsed]), table, facts)
            for result, table in zip(batch, tables, strict=True)
        ]


def _type_command(options: SearchOptions, fusion: FusionOptions | None) -> str:
    """Return the command line of the search, without the options at their defaults."""
    typed: list[tuple[str, object]] = [
        ("--emb-dir", options.emb_dir), ("--model", options.model), ("--query", options.query),
        ("--queries-file", options.queries_file), ("--topk", options.topk), ("--where", options.where),
        ("--unique", options.unique), ("--patients-file", options.patients_file),
    ]  # fmt: skip
    if options.like is not None:
        typed += [("--like", options.like.text), ("--like-weight", f"{options.like.weight:g}")]
    if fusion is not None:
        typed += [("--alpha", f"{fusion.alpha:g}"), ("--softness-mm", f"{fusion.softness_mm:g}")]
    words = [text for option, value in typed if value is not None for text in (option, str(value))]
    words += ["--exact"] if options.exact else []
    return shlex.join(["noduleclip", "query" if fusion is None else "fuse", *words])


def _read_sentences(options: SearchOptions) -> list[str]:
    if options.like is not None and options.query is None and options.queries_file is None:
        return []
    if (options.query is None) == (options.queries_file is None):
        raise UsageError('give a sentence with --query "…", or many with --queries-file FILE, not both')
    if options.query is not None:
        _check_decoded("--query", options.query, "write >=")
        return [options.query]
    assert options.queries_file is not None
    return load_sentences(options.queries_file)


def _check_decoded(option: str, text: str, remedy: str) -> None:
    """Check that the bytes of a text from the command line are characters in this locale.

    Raises:
        UsageError: They are not.
    """
    if any("\udc80" <= character <= "\udcff" for character in text):
        raise UsageError(f"{option} has characters that this locale cannot read; set LC_ALL=C.UTF-8, or {remedy}")


@contextlib.contextmanager
def _delivering(index: Index, options: SearchOptions) -> Iterator[Callable[[Sequence[Answer]], None]]:
    """Yield what writes the answers of a batch to stdout and to `topk.csv`, which appears whole after the last one."""
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
