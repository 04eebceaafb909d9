"""Summary of a prepared collection: counts, series, oddities and rejected annotations."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import make_encodable
from noduleclip.importers.annotations import Annotations, RejectedAnnotation, count_rejected
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.roi_rows import RoiRows
from noduleclip.importers.slice_columns import PATH
from noduleclip.io.consensus import describe_shared_ids
from noduleclip.io.size_bins import count_sizes

OUTLINE_ROWS: Final = "rows of the table, an outline on a slice each"
PLACE_ROWS: Final = "rows of the table, a place each"
_WIDE_GAP: Final = 1.5  # times the median distance of slices: slices between are missing
_MOST_NAMED: Final = 8


def summarise_collection(
    catalogue: Catalogue,
    annotations: Annotations,
    made: RoiRows,
    nodules: pl.DataFrame,
    splits: Mapping[str, Sequence[str]],
    rejects: pl.DataFrame,
    diameter_kind: str,
) -> dict[str, Any]:
    """Return the content of `prepare.json`.

    Args:
        catalogue: The slices.
        annotations: The annotations.
        made: Rows made of them.
        nodules: Rows of `nodules.csv`.
        splits: Patients by the file name of their list.
        rejects: Rows of `rejects.csv`.
        diameter_kind: Measure of the diameters.
    """
    rois = made.frame
    counts = {
        "CT slices": catalogue.slices.height,
        "CT series": len(catalogue.series_uids()),
        "DICOM files of other kinds": catalogue.others.height,
        "DICOM files that cannot be used": catalogue.rejects.height,
        "files left out as copies": catalogue.copies,
        **{name: count for name, count in annotations.counts.items() if count},
        "annotations of series that are not here": annotations.absent + made.absent,
        "curves of a single point, left out": made.points,
        "annotations that give no row": count_rejected([*annotations.rejected, *made.rejected]),
        OUTLINE_ROWS if annotations.outlines else PLACE_ROWS: rois.height,
        "nodules": nodules.height,
        "series with nodules": rois[schema.SERIES_UID].n_unique(),
        "patients with nodules": rois[schema.PATIENT_ID].n_unique(),
        **{f"nodules of {readers} reader(s)": count for readers, count in _count(nodules[schema.READERS])},
    }
    return {
        "data_root": make_encodable(str(catalogue.root)),
        "source": make_encodable(str(annotations.source)),
        schema.DIAMETER_KIND: str(diameter_kind),
        "rescale": annotations.rescale,
        "counts": counts,
        "sizes": count_sizes(nodules),
        "series": _describe_series(catalogue, rois),
        "splits": {name: len(patients) for name, patients in splits.items()},
        "remarks": [make_encodable(remark) for remark in (*annotations.remarks, *_find_oddities(catalogue, rois))],
        "rejected": dict(Counter(rejects[schema.REJECT_CODE].to_list()).most_common()),
    }


def list_rejects(rejected: Sequence[RejectedAnnotation], catalogue: Catalogue) -> pl.DataFrame:
    """Return `rejects.csv`: annotations without a row, and DICOM files that cannot be used."""
    columns = (schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON)
    annotations = [(make_encodable(str(one.path)), str(one.code), make_encodable(one.reason)) for one in rejected]
    listed = set(annotations)  # a folder of both that cannot be opened is in both
    files = [row for row in catalogue.rejects.select(PATH, *columns[1:]).iter_rows() if row not in listed]
    return pl.DataFrame([*annotations, *files], schema=dict.fromkeys(columns, pl.String), orient="row")


def _find_oddities(catalogue: Catalogue, rois: pl.DataFrame) -> list[str]:
    """Return a sentence for each property of the series that a user of the table should know."""
    remarks = []
    series = rois.select(schema.PATIENT_ID, schema.SERIES_UID).unique(maintain_order=True)
    several = [patient for patient, count in _count(series[schema.PATIENT_ID]) if count > 1]
    if several:
        named = ", ".join(several[:_MOST_NAMED]) + (", …" if len(several) > _MOST_NAMED else "")
        remarks.append(f"{len(several)} patient(s) have nodules in several series, and stay in one list: {named}")
    if shared := describe_shared_ids(rois):
        remarks.append(shared)
    broken = [uid for uid in series[schema.SERIES_UID] if _lacks_slices(catalogue, uid)]
    if catalogue.was_read and broken:
        remarks.append(f"{len(broken)} series lack slices between others; first: {broken[0]}")
    if catalogue.was_read:
        remarks += _find_reconstructions(catalogue, series[schema.SERIES_UID])
    return remarks


def _find_reconstructions(catalogue: Catalogue, series_uids: Iterable[str]) -> list[str]:
    """Return a sentence for series in which the rule chose one of several reconstructions."""
    mixed: list[str] = []
    found: list[str] = []
    unmatched = 0
    for uid in series_uids:  # one at a time: the slices of all take memory
        series = catalogue.find_series(uid)
        if series is None:
            continue
        if len(series.patients) > 1:
            mixed.append(f"{uid}, {len(series.patients)}")
        if others := series.list_alternatives():
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            found.append(f"{uid}: used is {series.parts[0].describe()}, not used {others[0].describe()}{more}")
            unmatched += not series.matches(catalogue.pattern)
    remarks = []
    if mixed:
        remarks.append(f"{len(mixed)} series have slices of several patients; first: {mixed[0]}")
    if found:
        rule = "with the thinnest slices, then by kernel and description (--series picks another)"
        if catalogue.pattern:
            rule = f"that --series {catalogue.pattern!r} matches, then with the thinnest slices"
        remarks.append(
            f"{len(found)} series hold several reconstructions; annotations that name no slice are on the one {rule}; "
            f"first: series {found[0]}"
        )
    if catalogue.pattern and unmatched:
        remarks.append(f"{unmatched} of them have none that matches --series {catalogue.pattern!r}")
    return remarks


def _lacks_slices(catalogue: Catalogue, series_uid: str) -> bool:
    series = catalogue.find_series(series_uid)
    return series is not None and series.largest_gap_mm > _WIDE_GAP * series.gap_mm


def _count(column: pl.Series) -> list[tuple[Any, int]]:
    return sorted((value, count) for value, count in Counter(column.to_list()).items())


def _describe_series(catalogue: Catalogue, rois: pl.DataFrame) -> list[dict[str, Any]]:
    """Describe each series that has rows: its slices, distances, and manufacturer."""
    described = []
    for series_uid, rows in sorted(Counter(rois[schema.SERIES_UID].to_list()).items()):
        series = catalogue.find_series(series_uid)
        assert series is not None
        first = series.frame.row(0, named=True)
        gap_mm = series.gap_mm
        described.append(
            {
                schema.SERIES_UID: series_uid,
                schema.PATIENT_ID: first[schema.PATIENT_ID],
                "slices": series.frame.height,
                "rows": rows,
                "gap_mm": None if math.isnan(gap_mm) else round(gap_mm, 3),
                schema.SLICE_THICKNESS: first[schema.SLICE_THICKNESS],
                schema.SPACING_COL: first[schema.SPACING_COL],
                schema.MANUFACTURER: first[schema.MANUFACTURER],
            }
        )
    return described
