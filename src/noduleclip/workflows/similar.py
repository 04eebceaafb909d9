"""The nodule that `query --like` names: a row of the index, a place on one of its slices, or one on another slice."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError, UsageError
from noduleclip.io.index.base import Index
from noduleclip.retrieval.top_k import check_unit_norm
from noduleclip.workflows.place_embedding import PlacedCrop, embed_place
from noduleclip.workflows.reporter import Reporter

if TYPE_CHECKING:  # a query without pictures does not load the libraries that outlines need
    from noduleclip.io.outlines import SliceOutlines

_ROW = re.compile(r"[0-9]{1,18}")
_PLACE = re.compile(r"(?P<path>.+):\s*(?P<x>-?[0-9]{1,6}(?:\.[0-9]*)?)\s*,\s*(?P<y>-?[0-9]{1,6}(?:\.[0-9]*)?)\s*", re.S)
_NEAR_MM = 5.0
_USUAL_SPACING_MM = 0.7  # of LIDC's slices; serves where the index has no spacing
_MOST_NAMED = 12
_DISTANCE_MM = "distance_mm"
_INSIDE = "inside"


@dataclass(frozen=True)
class Reference:
    """A nodule that the hits are to resemble.

    Attributes:
        name: It in a few words, "row 17".
        description: It in a line, with size, nodule and slice where they are known.
        facts: Its row of the metadata with its number as `row`, or path and centre of one outside the index.
        vector: (D,) its unit embedding.
        own_rows: Ascending rows of the index that show this very nodule: itself, and what other readers outlined.
    """

    name: str
    description: str
    facts: dict[str, Any]
    vector: NDArray[np.float32]
    own_rows: NDArray[np.int64]


def find_reference(
    index: Index, text: str, *, model: Path | None = None, cache_dir: Path | None = None, reporter: Reporter
) -> Reference:
    """Find the nodule that `--like` names; a crop is cut and embedded only where the index has no row there.

    Args:
        index: The index that is searched.
        text: `ROW`, `PATH` or `PATH:x,y`, in pixels of the slice, with either separator.
        model: The checkpoint that made the embeddings, where the user named it.
        cache_dir: Folder of the exported model; None = the user's cache.
        reporter: Receives a message before the model is prepared.

    Raises:
        UsageError: There is no such nodule, or several.
        SliceError: The slice outside the index cannot be read.
        ArtefactError: The checkpoint that is needed for such a slice is not known.
    """
    index.require_columns([schema.CENTER_X, schema.CENTER_Y, *schema.BOX_COLUMNS])
    if _ROW.fullmatch(text):
        return _take_row(index, _check_row(index, int(text)))
    found = _PLACE.fullmatch(text)
    if found is None or _find_slice(index, text).height:  # a file's name may end like a place
        return _take_row(index, _choose_only(index, text))
    path, place = found["path"], (float(found["x"]), float(found["y"]))
    row = _choose_near(index, _lies_on(index, path), place, path)
    if row is None:
        row = _choose_outlined(index, path, place)
    if row is not None:
        return _take_row(index, row)
    placed = embed_place(index, path, place, text, model=model, cache_dir=cache_dir, reporter=reporter)
    return _take_place(index, path, place, placed)


def exclude_own_rows(reference: Reference, rows: NDArray[np.int64] | None, index: Index) -> NDArray[np.int64]:
    """Exclude the reference's own rows from those to rank.

    Args:
        reference: What the hits are to resemble.
        rows: (M,) ascending rows to rank; None = all.
        index: The index that they are of.

    Raises:
        InputError: No other row is left.
    """
    others = np.setdiff1d(np.arange(index.manifest.rows) if rows is None else rows, reference.own_rows, True)
    if len(others) == 0:
        raise InputError(f"{index.location}: only rows of {reference.name} itself are left to rank")
    return others


def _check_row(index: Index, row: int) -> int:
    if row >= index.manifest.rows:
        raise UsageError(f"--like {row}: the rows of {index.location} are 0 to {index.manifest.rows - 1}")
    return row


def _take_row(index: Index, row: int) -> Reference:
    check_unit_norm(index.embeddings, np.array([row]))
    facts = index.read_rows([row]).row(0, named=True)
    size = facts[schema.DIAMETER_MM]
    nodule = facts.get(schema.NODULE_ID) or ""
    patient = facts[schema.PATIENT_ID] or ""
    named = nodule if patient in nodule else f"{patient} nodule {nodule}" if nodule else patient
    parts = ["no diameter" if size is None else f"{size:.1f} mm", named, facts[schema.DICOM_PATH]]
    description = f"row {row}: {', '.join(part for part in parts if part)}"
    vector = np.array(index.embeddings[np.array([row])][0])
    return Reference(f"row {row}", description, facts, vector, _find_own_rows(index, facts))


def _find_own_rows(index: Index, facts: Mapping[str, Any]) -> NDArray[np.int64]:
    """Find the rows of the same nodule: by its id, else by its place on the slice."""
    if facts.get(schema.NODULE_ID):
        same = pl.all_horizontal(pl.col(name) == facts[name] for name in (schema.PATIENT_ID, schema.NODULE_ID))
        plan = index.scan().filter(same | (pl.col(schema.ROW) == facts[schema.ROW]))
    else:
        near = _measure(index, pl.col(schema.DICOM_PATH) == facts[schema.DICOM_PATH], _center(facts))
        plan = near.filter(pl.col(_DISTANCE_MM) <= _NEAR_MM, _frame(index) == (facts.get(schema.FRAME) or 1.0))
    rows = index.collect(plan.select(pl.col(schema.ROW).cast(pl.Int64)))[schema.ROW]
    return np.union1d(rows.to_numpy(), [facts[schema.ROW]]).astype(np.int64)


def _center(facts: Mapping[str, Any]) -> tuple[float, float]:
    return facts[schema.CENTER_X], facts[schema.CENTER_Y]


def _frame(index: Index) -> pl.Expr:
    held = index.scan().collect_schema().names()
    return pl.col(schema.FRAME).fill_null(1.0) if schema.FRAME in held else pl.lit(1.0)


def _measure(index: Index, which: pl.Expr, place_xy_px: tuple[float, float]) -> pl.LazyFrame:
    """Return some rows with their distance from a place and whether their box holds it."""
    x, y = place_xy_px
    frame = index.scan().filter(which)
    held = frame.collect_schema().names()

    def spacing(name: str) -> pl.Expr:
        return pl.col(name).fill_null(_USUAL_SPACING_MM) if name in held else pl.lit(_USUAL_SPACING_MM)

    across_mm = (pl.col(schema.CENTER_X).cast(pl.Float64) - x) * spacing(schema.SPACING_COL)
    down_mm = (pl.col(schema.CENTER_Y).cast(pl.Float64) - y) * spacing(schema.SPACING_ROW)
    left, top, right, bottom = (pl.col(name).cast(pl.Float64) for name in schema.BOX_COLUMNS)
    return frame.with_columns(
        (across_mm**2 + down_mm**2).sqrt().alias(_DISTANCE_MM),
        ((left - 0.5 <= x) & (right + 0.5 >= x) & (top - 0.5 <= y) & (bottom + 0.5 >= y)).alias(_INSIDE),
    )


def _find_slice(index: Index, path: str) -> pl.DataFrame:
    """Find the rows on a slice, named as the index names it or as it lies on this disk."""
    return index.collect(index.scan().filter(_lies_on(index, path)))


def _lies_on(index: Index, path: str) -> pl.Expr:
    return pl.col(schema.DICOM_PATH).is_in(_list_spellings(path, index.manifest.dicom_roots))


def _list_spellings(path: str, roots: Sequence[str]) -> list[str]:
    """Return the forms in which an index may hold a path."""
    slashed = path.strip().replace("\\", "/")
    file = os.path.normpath(Path(slashed).absolute())
    below = [os.path.relpath(file, root) for root in roots if file.startswith(os.path.normpath(root) + os.sep)]
    return [slashed, *(name.replace("\\", "/") for name in (os.path.normpath(slashed), file, *below))]


def _choose_only(index: Index, path: str) -> int:
    on_slice = _find_slice(index, path)
    if on_slice.height == 0:
        outlined = [row for row, _ in _find_outlined(index, path)]
        if len(outlined) == 1:
            return outlined[0]
        if outlined:
            rows = ", ".join(map(str, outlined[:_MOST_NAMED]))
            raise UsageError(f"--like {path}: several nodules were outlined on this slice; name a row of {rows}")
        raise UsageError(
            f"--like {path}: no row of {index.location} lies on this slice; name a row, a slice as in "
            f"{schema.DICOM_PATH}, or a place in pixels of a file: PATH:x,y"
        )
    first = on_slice.row(0, named=True)
    if not set(on_slice[schema.ROW]) <= set(_find_own_rows(index, first).tolist()):
        raise UsageError(f"--like {path}: {_list_rows(on_slice)}; give one's row, or its place: PATH:x,y")
    return int(first[schema.ROW])


def _list_rows(rows: pl.DataFrame) -> str:
    named = [
        f"row {hit[schema.ROW]} at {hit[schema.CENTER_X]:g},{hit[schema.CENTER_Y]:g}"
        for hit in rows.head(_MOST_NAMED).iter_rows(named=True)
    ]
    more = f" and {rows.height - _MOST_NAMED} more" if rows.height > _MOST_NAMED else ""
    return f"several nodules lie on this slice: {'; '.join(named)}{more}"


def _choose_near(index: Index, which: pl.Expr, place_xy_px: tuple[float, float], path: str) -> int | None:
    """Choose of some rows the one whose box holds a place, else the nearest one; None where none is near."""
    plan = _measure(index, which, place_xy_px).with_columns(_frame(index).alias(schema.FRAME))
    near = index.collect(plan.filter(pl.col(_INSIDE) | (pl.col(_DISTANCE_MM) <= _NEAR_MM)))
    if near.height == 0:
        return None
    if near[schema.FRAME].n_unique() > 1:
        raise UsageError(f"--like {path}: {_list_rows(near)}, on several frames; give one's row")
    best = near.sort(pl.col(_INSIDE).not_(), _DISTANCE_MM, schema.ROW)
    return int(best[0, schema.ROW])


def _choose_outlined(index: Index, path: str, place_xy_px: tuple[float, float]) -> int | None:
    """Choose the nodule that was outlined around a place of one of its further slices; None where none was."""
    around = [
        (float(np.hypot(*(points.mean(0) - place_xy_px))), row)
        for row, slice_outlines in _find_outlined(index, path)
        for points in slice_outlines.outlines
        if ((points.min(0) <= place_xy_px) & (place_xy_px <= points.max(0))).all()
    ]
    return min(around)[1] if around else None


def _find_outlined(index: Index, path: str) -> list[tuple[int, "SliceOutlines"]]:
    """Find the rows of an index of nodules that were outlined on a slice, which need not be their own.

    The slices of one nodule lie in one folder, so only its rows are read.
    """
    if not index.manifest.is_of_nodules:
        return []
    spellings = set(_list_spellings(path, index.manifest.dicom_roots))
    folders = list({spelling.rpartition("/")[0] for spelling in spellings})
    beside = pl.col(schema.DICOM_PATH).str.replace(r"/?[^/]*$", "").is_in(folders)
    rows = index.collect(index.scan().filter(beside).select(schema.ROW))[schema.ROW].to_list()
    slices = zip(rows, index.read_slices(rows), strict=True)
    return [(row, one) for row, of_row in slices for one in of_row if one.dicom_path in spellings]


def _take_place(index: Index, path: str, place_xy_px: tuple[float, float], placed: PlacedCrop) -> Reference:
    """Return the nodule at a place where the index has no row."""
    own_rows = np.empty(0, np.int64)
    if placed.sop_uid and schema.SOP_UID in index.scan().collect_schema().names():  # a copy of a slice of the index
        row = _choose_near(index, pl.col(schema.SOP_UID) == placed.sop_uid, place_xy_px, path)
        if row is not None:
            own_rows = _find_own_rows(index, index.read_rows([row]).row(0, named=True))
    name = f"{path}:{place_xy_px[0]:g},{place_xy_px[1]:g}"
    facts = {schema.DICOM_PATH: str(placed.file), schema.CENTER_X: place_xy_px[0], schema.CENTER_Y: place_xy_px[1]}
    return Reference(name, f"{name}, outside the index", facts, placed.vector, own_rows)
