"""Export of hits and of described nodules: their rows become findings on slices, which exporters write."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.exporters.formats import find_format
from noduleclip.io.bundled_model import recall_estimate_kind
from noduleclip.io.consensus import find_unit
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders
from noduleclip.io.roi_table import find_file
from noduleclip.workflows.export_files import ExportedFile, ExportTarget, need_places, report_left_out, write_export
from noduleclip.workflows.pictures import with_key_slice
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.search_answer import Answer

if TYPE_CHECKING:  # a search without an export does not load the libraries that findings need
    from noduleclip.exporters.findings import Finding, Source
    from noduleclip.io.dicom.placement import Placement
    from noduleclip.io.outlines import SliceOutlines
    from noduleclip.workflows.describe import DescribeResult

_ROWS_AT_ONCE: Final = 512  # whose outlines are in memory; of a nodule they take up to 256 kB


def export_hits(
    targets: Sequence[ExportTarget],
    index: Index,
    answers: Sequence[Answer],
    folders: SliceFolders | None,
    reporter: Reporter = SILENT,
) -> list[ExportedFile]:
    """Export the hits of a search.

    Args:
        targets: What `check_exports` returned.
        index: The index of the hits.
        answers: One for each sentence.
        folders: Where the slices may be read; None where no format needs them.
        reporter: Receives a warning of hits that are left out.

    Raises:
        InputError: No slice of a hit can be read.
        OutputError: A file cannot be written.
    """
    hits = pl.concat([answer.hits for answer in answers])
    return _export(targets, hits, _name_source(index, answers), lambda: _find_in_index(index, hits), folders, reporter)


def render_hits(
    name: str, index: Index, answer: Answer, folders: SliceFolders, reporter: Reporter = SILENT
) -> list[tuple[str, bytes]]:
    """Return names and contents of the files of an export, which are not written.

    Args:
        name: Name of the file, whose ending chooses the format.
        index: The index of the hits.
        answer: The hits.
        folders: Where the slices may be read.
        reporter: Receives a warning of hits that are left out.

    Raises:
        UsageError: No format has the ending, or its library is missing.
        InputError: No slice of a hit can be read.
    """
    from noduleclip.exporters.findings import Export

    path, hits = Path(name), answer.hits
    findings = _make_findings(_find_in_index(index, hits), hits.height, folders, lambda _: None, reporter)
    export = Export(hits, _name_source(index, [answer]), findings)
    return [(file.path.name, file.content) for file in find_format("export", path).render(export, path)]


def _name_source(index: Index, answers: Sequence[Answer]) -> "Source":
    from noduleclip.exporters.findings import Question, Source

    rankings = [answer.ranking for answer in answers]
    readings = ["; ".join(filter(None, (one.description, one.summary))) for one in rankings]
    questions = [Question(one.question, reading) for one, reading in zip(rankings, readings, strict=True)]
    sha256 = index.manifest.checkpoint_sha256
    return Source(tuple(questions), index.manifest.model_id, sha256, recall_estimate_kind(sha256))


def export_descriptions(
    targets: Sequence[ExportTarget],
    result: "DescribeResult",
    folders: SliceFolders | None,
    reporter: Reporter = SILENT,
    *,
    index: Index | None = None,
    condition: str = "",
) -> list[ExportedFile]:
    """Export described nodules; arguments and errors as of `export_hits`.

    Args:
        targets: What `check_exports` returned.
        result: The nodules.
        folders: Where the slices may be read; None where no format needs them.
        reporter: Receives a warning of nodules that are left out.
        index: The index that they are of; None = those of a table.
        condition: How they were chosen.
    """
    from noduleclip.exporters.findings import Question, Source

    question = Question(condition or "all nodules", "described by what their images show")
    sha256 = result.checkpoint_sha256
    source = Source((question,), result.model_id, sha256, recall_estimate_kind(sha256))

    def find() -> Iterator[tuple[Mapping[str, Any], "SliceOutlines"]]:
        if index is None:
            return _find_in_table(result)
        held = index.read_rows(result.table[schema.ROW].to_numpy())
        estimates = result.table.select(pl.exclude(held.columns))  # of an index that holds none
        return _find_in_index(index, held.hstack(estimates))

    return _export(targets, result.table, source, find, folders, reporter)


def _find_in_index(index: Index, rows: pl.DataFrame) -> Iterator[tuple[Mapping[str, Any], "SliceOutlines"]]:
    """Yield rows of an index with the slice that represents each of them."""
    for part in rows.iter_slices(_ROWS_AT_ONCE):
        for row, outlined in zip(
            part.iter_rows(named=True), index.read_slices(part[schema.ROW].to_numpy()), strict=True
        ):
            slices, key = with_key_slice(row, outlined)
            yield row, slices[key]


def _find_in_table(result: "DescribeResult") -> Iterator[tuple[Mapping[str, Any], "SliceOutlines"]]:
    from noduleclip.io.outlines import parse_row_slices

    is_of_nodules = find_unit(result.nodules) == schema.NODULE_UNIT
    for row, text in zip(result.nodules.iter_rows(named=True), result.outlines, strict=True):
        slices, key = with_key_slice(row, parse_row_slices(row, text, is_of_nodules=is_of_nodules))
        yield row, slices[key]


def _export(
    targets: Sequence[ExportTarget],
    table: pl.DataFrame,
    source: "Source",
    find: Callable[[], Iterator[tuple[Mapping[str, Any], "SliceOutlines"]]],
    folders: SliceFolders | None,
    reporter: Reporter,
) -> list[ExportedFile]:
    from noduleclip.exporters.findings import Export

    findings: tuple[Finding, ...] = ()
    if need_places(targets):
        assert folders is not None  # the caller settles them where a format needs places
        with reporter.progress("finding slices", table.height, "hits") as advance:
            findings = _make_findings(find(), table.height, folders, advance, reporter)
    return [file for target in targets for file in write_export(target, Export(table, source, findings), reporter)]


def _make_findings(
    rows: Iterable[tuple[Mapping[str, Any], "SliceOutlines"]],
    count: int,
    folders: SliceFolders,
    on_row: Callable[[int], None],
    reporter: Reporter,
) -> "tuple[Finding, ...]":
    """Place each row on its slice; those whose slice cannot be read are left out with a warning.

    Raises:
        InputError: None can be read.
    """
    from noduleclip.exporters.finding_rows import make_finding

    read = _PlacementReader(folders)
    findings, errors = [], []
    for number, (row, slices) in enumerate(rows, 1):
        try:
            file, placement = read(row)
            rank = None if schema.RANK in row else number
            findings.append(make_finding(row, placement, file, slices.outlines, rank=rank))
        except SliceError as error:
            errors.append(error)
        on_row(1)
    report_left_out(errors, count, reporter)
    return tuple(findings)


class _PlacementReader:
    """Reads where slices lie, each of them once."""

    def __init__(self, folders: SliceFolders) -> None:
        self._folders = folders
        self._known: dict[tuple[str, float | None], tuple[Path, Placement] | SliceError] = {}

    def __call__(self, row: Mapping[str, Any]) -> "tuple[Path, Placement]":
        key = (str(row[schema.DICOM_PATH]), row.get(schema.FRAME))
        if key not in self._known:
            try:
                self._known[key] = self._read(row, *key)
            except SliceError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, SliceError):
            raise found
        return found

    def _read(self, row: Mapping[str, Any], dicom_path: str, frame: float | None) -> "tuple[Path, Placement]":
        from noduleclip.io.dicom.placement import read_placement

        if not self._folders.allows(dicom_path):
            fact = f"{dicom_path} lies outside the DICOM folders; name its folder with --dicom-root"
            raise SliceError(RejectCode.OUTSIDE, fact)
        file = Path(find_file(dicom_path, self._folders.folders or [Path.cwd()]))
        row_mm, col_mm = row.get(schema.SPACING_ROW), row.get(schema.SPACING_COL)
        spacing_yx_mm = None if row_mm is None or col_mm is None else (row_mm, col_mm)
        return file, read_placement(file, frame=frame, spacing_yx_mm=spacing_yx_mm)
