"""What `query` and `fuse` share: open the index, read the sentences, rank the rows that are allowed, show the best."""

import contextlib
import functools
import itertools
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.cli.claim import OVERWRITE, claiming
from noduleclip.cli.pictures import PictureOptions, make_previews
from noduleclip.cli.retries import retry_replaced
from noduleclip.cli.shortcut import take_shortcut
from noduleclip.cli.similar import LikeOptions, Reference, find_reference, leave_out, refuse_undecoded
from noduleclip.cli.slice_folders import settle_slice_folders
from noduleclip.errors import ArtefactError, IndexReplacedError, InputError, UsageError
from noduleclip.io.artefacts import hash_file, replacing
from noduleclip.io.index.folder import Index, open_index
from noduleclip.io.index.rows import apply_condition, find_groups
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import select_patients
from noduleclip.io.shipped import find_checkpoint
from noduleclip.io.text_lines import read_lines
from noduleclip.io.text_table import format_csv
from noduleclip.language.query import Reading, describe_reading, list_attributes, read_sentence, read_sentences
from noduleclip.report.console import say, warn, write_lines
from noduleclip.report.tables import Answer, choose_format, print_hits
from noduleclip.retrieval.fusion import fuse_scores, mix_likeness, score_reading
from noduleclip.retrieval.hits import describe_hits
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.retrieval.top_k import TopK, compute_cosines, find_top_k, refuse_odd_rows, select_top_k

_BATCH_SENTENCES = 128  # the tables of hits take 300 kB a sentence
_BATCH_HITS = 1 << 17


@dataclass(frozen=True)
class SearchOptions:
    """What to look for, among which rows, and where the hits go."""

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
    """How the measured diameter is mixed in: `alpha` times the towers, the rest by the rule.

    Attributes:
        alpha: Weight of the towers; None = the best one on `val_emb_dir`.
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
    # Read once to refuse any of them before the first answer, and again batch by batch: 200,000 readings are 160 MB.
    asked = tuple(dict.fromkeys(name for sentence in sentences for name in list_attributes([read_sentence(sentence)])))
    if options.pictures.writes_files:
        from noduleclip.cli.gallery import check_gallery

        check_gallery(options.pictures, replace=options.overwrite)
    with claiming(options.out, (schema.TOP_K_CSV,), OVERWRITE, replace=options.overwrite):
        retry_replaced(lambda: _search(options, fusion, sentences, asked))


def _search(
    options: SearchOptions, fusion: FusionOptions | None, sentences: Sequence[str], asked: Sequence[str]
) -> None:
    index = open_index(options.emb_dir)
    check_model(index, options.model)
    if fusion is not None and fusion.alpha is None:
        from noduleclip.cli.alpha import choose_alpha_on

        assert fusion.val_emb_dir is not None
        fusion = replace(fusion, alpha=choose_alpha_on(fusion.val_emb_dir, index, fusion.softness_mm))
    if options.pictures.wanted:
        folders = settle_slice_folders(index, options.pictures.given_folders)
        options = replace(options, pictures=replace(options.pictures, folders=folders))
    reference = None if options.like is None else find_reference(index, options.like, options.model)
    encoder = open_text_tower(index) if sentences else None
    if encoder is not None:
        _tell_of_unknown_ratings(asked, encoder.attributes)
    ranking = _Ranking(index, options, fusion, encoder, reference)
    batches = _split(sentences, min(options.topk, index.manifest.rows))
    with _delivering(index, options) as deliver:
        if options.pictures.writes_files:
            from noduleclip.cli.gallery import refuse_many_hits, write_gallery

            shown: list[Answer] = []
            for batch in batches:
                shown += _answer(ranking, batch)
                refuse_many_hits(shown)
            write_gallery(index, shown, options.pictures, _type_command(options, fusion))
            deliver(shown)
            return
        for number, batch in enumerate(batches):
            try:
                deliver(_answer(ranking, batch))
            except IndexReplacedError as error:
                if number:  # what was printed cannot be taken back, so the search must not start again
                    raise ArtefactError(str(error)) from error
                raise


def _split(sentences: Sequence[str], topk: int) -> list[Sequence[str]]:
    """Split sentences into batches whose hits fit into memory; no sentences are one batch, too.

    A lone sentence is never left over: the text encoder rounds a batch of one differently.
    """
    size = min(_BATCH_SENTENCES, max(2, _BATCH_HITS // topk))
    count = max(1, len(sentences) // size)
    ends = [len(sentences) * batch // count for batch in range(count + 1)]
    return [sentences[start:end] for start, end in itertools.pairwise(ends)]


def _answer(ranking: "_Ranking", sentences: Sequence[str]) -> list[Answer]:
    """Answer a batch of sentences, or the question without any that is a reference alone."""
    reference = ranking.reference
    readings = read_sentences(sentences) or [Reading(None, (), ())]
    hits, told = [], [_describe_question(reading, sentences, reference) for reading in readings]
    for line, one in zip(told, ranking.rank(sentences, readings), strict=True):
        say(line)
        hits.append(one)
    found = ranking.index.read_rows(np.concatenate([one.rows for one in hits]))
    ends = np.cumsum([len(one.rows) for one in hits]).tolist()
    answers = []
    facts = None if reference is None else reference.facts
    asked = _name_questions(sentences, reference)
    for text, line, reading, one, end in zip(asked, told, readings, hits, ends, strict=True):
        table = describe_hits(found[end - len(one.rows) : end], one.columns, text, reading)
        answers.append(Answer(text, line, list_attributes([reading]), table, facts))
    return answers


@dataclass
class _Ranking:
    """Ranks the rows that are allowed for batches of sentences, or by a reference alone.

    The filters, the groups and the similarity to the reference are computed once for all batches.
    """

    index: Index
    options: SearchOptions
    fusion: FusionOptions | None
    encoder: SentenceEncoder | None
    reference: Reference | None
    _is_first: bool = True

    def rank(self, sentences: Sequence[str], readings: Sequence[Reading]) -> Iterator["_Hits"]:
        """Find the hits of each sentence, by a vector index where that can answer."""
        if self.encoder is not None:
            vectors = self.encoder.encode(sentences)
        else:
            assert self.reference is not None
            vectors = self.reference.vector[None]
        found = self._take_shortcut(vectors)
        self._is_first = False
        if found is not None:
            yield from _show_similarity(self.index, found)
            return
        rows, groups, mixing = self._candidates
        topk = self.options.topk
        yield from _find_hits(self.index, vectors, readings, rows, groups, self.encoder, topk, self.fusion, mixing)

    def _take_shortcut(self, vectors: NDArray[np.float32]) -> list[TopK] | None:
        options, reference = self.options, self.reference
        if options.exact or self.fusion is not None or options.unique is not None or (reference and self.encoder):
            return None
        left_out = np.empty(0, np.int64) if reference is None else reference.own_rows
        return take_shortcut(
            self.index, vectors, options.topk, where=options.where, patients_file=options.patients_file,
            left_out=left_out, tells=self._is_first,
        )  # fmt: skip

    @functools.cached_property
    def _candidates(self) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None, "_Mixing | None"]:
        """The rows to rank, their groups, and their similarity to the reference; None where there is none."""
        index, options, reference = self.index, self.options, self.reference
        rows = _filter_rows(index, options)
        if reference is not None:
            rows = leave_out(reference, rows, index)
        groups = find_groups(index, options.unique, rows)
        ranked = index.manifest.rows if rows is None else len(rows)
        candidates = ranked if groups is None else len(np.unique(groups))
        if options.topk > candidates:
            what = "rows" if options.unique is None else f"of one {options.unique} each"
            say(f"note: {options.topk} hits were asked for, there are {candidates} {what} to rank")
        mixing = _Mixing.of(index, rows, reference, options.like) if self.encoder is not None else None
        return rows, groups, mixing


def _type_command(options: SearchOptions, fusion: FusionOptions | None) -> str:
    """Give the search as one would type it, what is left at its default aside."""
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


def _name_questions(sentences: Sequence[str], reference: Reference | None) -> list[str]:
    """Say what was asked, as the hits say it."""
    if reference is None:
        return list(sentences)
    return [f"{sentence}, like {reference.name}" for sentence in sentences] or [f"like {reference.name}"]


def _describe_question(reading: Reading, sentences: Sequence[str], reference: Reference | None) -> str:
    """Say in one line how a question was understood."""
    parts = [describe_reading(reading)] if sentences else []
    if reference is not None:
        parts.append(f"similar to {reference.description}")
    return "; ".join(parts)


def _tell_of_unknown_ratings(asked: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in asked if name not in known]
    if unknown:
        warn(f"the model was not trained on ratings of {', '.join(unknown)}: the image says nothing of them here")


def _read_sentences(options: SearchOptions) -> list[str]:
    if options.like is not None and options.query is None and options.queries_file is None:
        return []
    if (options.query is None) == (options.queries_file is None):
        raise UsageError('give a sentence with --query "…", or many with --queries-file FILE, not both')
    if options.query is not None:
        refuse_undecoded("--query", options.query, "write >=")
        return [options.query]
    assert options.queries_file is not None
    return read_sentence_file(options.queries_file)


def read_sentence_file(path: Path) -> list[str]:
    """Read sentences, one a line; blank lines and lines starting with `#` are skipped.

    Raises:
        InputError: The file cannot be read, holds none, or too many.
    """
    try:
        sentences = list(read_lines(path, "sentences"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    if not sentences:
        raise InputError(f"{path}: holds no sentence; expected one a line")
    return sentences


def check_model(index: Index, checkpoint: Path | None) -> None:
    """Refuse a checkpoint that did not make the embeddings.

    Raises:
        ArtefactError: It is missing, or another one made them.
    """
    if checkpoint is None:
        return
    if hash_file(find_checkpoint(checkpoint)) != index.manifest.checkpoint_sha256:
        raise ArtefactError(
            f"{checkpoint} did not make the embeddings in {index.location}; embed again, or leave --model out"
        )


def open_text_tower(index: Index) -> SentenceEncoder:
    """Open the index's text tower.

    Raises:
        ArtefactError: It is broken or belongs to another model.
    """
    try:
        return _read_text_tower(index)
    except IndexReplacedError:  # an opened folder still has its own, and lends a copy of it from now on
        return _read_text_tower(index)


def _read_text_tower(index: Index) -> SentenceEncoder:
    with index.lending_tower() as file:
        encoder = SentenceEncoder(file)
    if encoder.emb != index.manifest.emb:
        raise ArtefactError(
            f"{index.location}: {schema.TEXT_TOWER} gives vectors of {encoder.emb} numbers, "
            f"the embeddings have {index.manifest.emb}; embed again"
        )
    if encoder.model_id != index.manifest.model_id:
        raise ArtefactError(
            f"{index.location}: {schema.TEXT_TOWER} is of model {encoder.model_id}, "
            f"the embeddings are of model {index.manifest.model_id}; embed again"
        )
    return encoder


def _filter_rows(index: Index, options: SearchOptions) -> NDArray[np.int64] | None:
    """Give the rows that the filters leave, ascending; None where there is no filter."""
    if options.where is None and options.patients_file is None:
        return None
    frame = index.scan()
    kept = index.collect(frame.select(schema.ROW, schema.PATIENT_ID))
    if options.where is not None:
        kept = kept.filter(apply_condition(options.where, index))
    if options.patients_file is not None:
        kept, unknown = select_patients(kept, read_patient_list(options.patients_file))
        if unknown:
            warn(f"{options.patients_file}: {len(unknown)} patient(s) are not among the rows to rank")
    if kept.height == 0:
        raise InputError(f"no row of {index.location} passes --where and --patients-file")
    return kept[schema.ROW].cast(pl.Int64).to_numpy()


@dataclass(frozen=True)
class _Hits:
    """The best rows for a sentence, best first, and their scores as columns to show."""

    rows: NDArray[np.int64]
    columns: dict[str, NDArray[np.floating]]


@dataclass(frozen=True)
class _Mixing:
    """How alike the candidates are to the reference, and how much that counts beside a sentence."""

    likeness: NDArray[np.float32]
    weight: float

    @classmethod
    def of(
        cls, index: Index, rows: NDArray[np.int64] | None, reference: Reference | None, like: LikeOptions | None
    ) -> "_Mixing | None":
        """Compare the candidates with the reference, if there is one."""
        if reference is None or like is None:
            return None
        return cls(compute_cosines(reference.vector, index.embeddings, rows), like.weight)

    def score(self, cosines: NDArray[np.floating], encoder: SentenceEncoder) -> dict[str, NDArray[np.floating]]:
        """Mix the cosines of the candidates with their likeness."""
        probability = encoder.calibration.to_probability(cosines)
        score = mix_likeness(probability, self.likeness, self.weight)
        return {schema.COSINE: probability, schema.LIKENESS: self.likeness, schema.SCORE: score}


def _find_hits(
    index: Index,
    vectors: NDArray[np.float32],
    readings: Sequence[Reading],
    rows: NDArray[np.int64] | None,
    groups: NDArray[np.int64] | None,
    encoder: SentenceEncoder | None,
    topk: int,
    fusion: FusionOptions | None,
    mixing: _Mixing | None,
) -> Iterator[_Hits]:
    """Find the hits of each sentence; every row's score is made only where the rule or a group needs it."""
    if fusion is None and groups is None and mixing is None:
        yield from _show_similarity(index, find_top_k(vectors, index.embeddings, topk, rows))
        return
    for vector, reading in zip(vectors, readings, strict=True):
        columns: dict[str, NDArray[np.floating]] = {schema.SIMILARITY: compute_cosines(vector, index.embeddings, rows)}
        if mixing is not None and encoder is not None:
            columns |= mixing.score(columns[schema.SIMILARITY], encoder)
        if fusion is not None and encoder is not None:
            columns |= _fuse(columns[schema.SIMILARITY], index, rows, reading, encoder, fusion)
        ranking = columns[schema.SCORE if schema.SCORE in columns else schema.SIMILARITY]
        chosen = select_top_k(ranking, topk, groups).rows
        found = chosen if rows is None else rows[chosen]
        refuse_odd_rows(index.embeddings, found)
        yield _Hits(found, {n: values[chosen] for n, values in columns.items()})


def _show_similarity(index: Index, found: Sequence[TopK]) -> Iterator[_Hits]:
    for best in found:
        refuse_odd_rows(index.embeddings, best.rows)
        yield _Hits(best.rows, {schema.SIMILARITY: best.scores})


def _fuse(
    cosines: NDArray[np.floating],
    index: Index,
    rows: NDArray[np.int64] | None,
    reading: Reading,
    encoder: SentenceEncoder,
    fusion: FusionOptions,
) -> dict[str, NDArray[np.floating]]:
    """Mix the cosines of the candidates with the rule."""
    assert fusion.alpha is not None
    probability = encoder.calibration.to_probability(cosines)
    rule = np.full(len(cosines), np.nan)
    if not reading.asks:
        warn("the sentence has no size and no rating: the rule has no say, the score is the cosine part alone")
    else:
        rule = _score_rules(index, rows, reading, fusion.softness_mm)
        if unmeasured := int(np.isnan(rule).sum()):
            lacks = "none of the ratings or sizes asked for" if reading.ratings else "no diameter"
            say(f"note: {unmeasured} row(s) have {lacks}; their score is the cosine part alone")
    score = fuse_scores(probability, rule, fusion.alpha)
    return {schema.COSINE: probability, schema.RULE: rule, schema.SCORE: score}


def _score_rules(
    index: Index, rows: NDArray[np.int64] | None, reading: Reading, softness_mm: float
) -> NDArray[np.float64]:
    """Score the candidates by their diameter and by each rating asked for; at least one of them is."""
    names = [schema.DIAMETER_MM, *list_attributes([reading])]
    held = index.scan().collect_schema().names()
    table = index.read_columns([name for name in names if name in held])

    def read(name: str) -> NDArray[np.float64]:
        if name not in held:
            return np.full(index.manifest.rows if rows is None else len(rows), np.nan)
        values = table[name].cast(pl.Float64).to_numpy()
        return values if rows is None else values[rows]

    return score_reading(reading, read, softness_mm)


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
        say(f"{count} hits in {options.out / schema.TOP_K_CSV}")
