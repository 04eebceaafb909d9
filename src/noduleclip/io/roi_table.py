"""The ROI table: a CSV with one row per nodule outline, loaded into a checked polars frame."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.patients import fold_id
from noduleclip.io.roi_places import check_boxes, choose_point, place_points
from noduleclip.io.text_table import parse_numbers, read_text_frame
from noduleclip.language import ATTRIBUTES, last_rating

LIDC_PATIENT = r"(LIDC-IDRI-\d{4})"
MAX_DIAMETER_MM = 100.0
_KEPT_COLUMNS = tuple(dict.fromkeys((*schema.TEXT_COLUMNS, *schema.NUMBER_COLUMNS)))
_ADDED_COLUMNS = {
    schema.READERS,
    schema.SLICES,
    *schema.READER_LISTS,
    schema.CSV_ROW,
    schema.DESCRIPTION,
    schema.ABSOLUTE_PATH,
    schema.CENTER_X,
    schema.CENTER_Y,
    *schema.HIT_COLUMNS,
}
_ADDED_COLUMNS -= set(_KEPT_COLUMNS)
# An empty name, one that polars reads as a pattern of columns, one that an index has for what the model says.
_RESERVED = re.compile(rf"\*?|\^.*\$|({schema.ESTIMATED_PREFIX}|{schema.PROBABILITY_PREFIX}).*", re.DOTALL)


@dataclass(frozen=True)
class RoiTable:
    """A checked ROI table.

    Attributes:
        path: The CSV.
        frame: One row per ROI in file order, with the columns of the CSV that are listed in `schema` or in
            `keep`, and `csv_row` (1 = first row below the header), `absolute_path`, `patient_id`,
            `center_x_px`, `center_y_px`. A diameter that is not a number in (0, 100] mm is null.
        duplicates: Exact duplicate rows that were dropped.
        dicom_roots: Folders that relative paths were looked for in, absolute.
        odd_ratings: Description of the ratings off their scale, which are null in `frame`; empty where there are none.
    """

    path: Path
    frame: pl.DataFrame
    duplicates: int
    dicom_roots: tuple[str, ...]
    odd_ratings: str = ""


def read_roi_table(
    path: Path, dicom_root: Path | None = None, keep: Sequence[str] = (), *, restrict_to_root: bool = False
) -> RoiTable:
    """Read a ROI table.

    Args:
        path: CSV in UTF-8, separated by commas, with at least `dicom_path`, `diameter_mm` and the four columns
            of the box; or `dicom_path` and a point, `x` and `y` or `centroid_x` and `centroid_y`. A row with an empty
            box may have a point, too.
        dicom_root: Folder that relative paths start from; None = the CSV's folder or the working folder, the first that
            has the file.
        keep: Further columns of the CSV to keep, as text.
        restrict_to_root: Refuse files outside those folders, links followed.

    Raises:
        InputError: The file is not such a table; the message names row and column.
    """
    raw = read_text_frame(path, "ROI table", (schema.DICOM_PATH,))
    point = choose_point(raw.columns, keep, path)
    taken = [name for name in keep if is_reserved(name)]
    if taken:
        raise InputError(f"{path}: column {taken[0]!r} cannot be kept under this name; rename it")
    raw = raw.drop(schema.CSV_ROW, strict=False)  # in a table that a command wrote
    numbered = raw.with_row_index(schema.CSV_ROW, offset=1).filter(~pl.all_horizontal(pl.col(raw.columns).is_null()))
    if numbered.height == 0:
        raise InputError(f"{path}: has a header but no rows")
    distinct = numbered.unique(subset=raw.columns, keep="first", maintain_order=True)
    frame = distinct.select(
        schema.CSV_ROW,
        *(pl.col(name) for name in dict.fromkeys((*_KEPT_COLUMNS, *keep)) if name in raw.columns),
    )
    _check_text_lengths(frame, path)
    for name in schema.NUMBER_COLUMNS:
        if name in frame.columns:
            frame = _parse_numbers(frame, name, path)
    frame, odd_ratings = _drop_odd_ratings(frame)
    if point is not None:
        frame = place_points(frame, distinct, point, path)
    frame = check_boxes(frame, point, path)
    _check_diameter_kind(frame, path)
    roots = [dicom_root] if dicom_root is not None else [path.parent, Path.cwd()]
    frame = _resolve_paths(frame, path, roots)
    if restrict_to_root:
        _check_paths_inside(frame, path, roots)
    frame = _name_patients(frame)
    return RoiTable(
        path, frame, numbered.height - distinct.height, tuple(str(root.absolute()) for root in roots), odd_ratings
    )


def select_patients(frame: pl.DataFrame, patients: Sequence[str]) -> tuple[pl.DataFrame, list[str]]:
    """Keep the rows of some patients, in table order.

    Returns:
        The rows, and the ids of the list that have no row.
    """
    wanted = {fold_id(patient): patient for patient in patients}
    known = [patient for patient in frame[schema.PATIENT_ID].unique() if fold_id(patient) in wanted]
    chosen = frame.filter(pl.col(schema.PATIENT_ID).is_in(known))
    present = {fold_id(patient) for patient in known}
    return chosen, [patient for key, patient in wanted.items() if key not in present]


def _check_text_lengths(frame: pl.DataFrame, path: Path) -> None:
    """Check that texts are short enough for an index."""
    for column in frame.select(pl.col(pl.String).exclude(schema.POINTS_JSON)).iter_columns():
        sizes = column.str.len_bytes()
        longest = sizes.arg_max()
        if longest is not None and sizes[longest] > schema.MOST_TEXT_BYTES:
            raise InputError(
                f"{path}: row {frame[longest, schema.CSV_ROW]}, column {column.name}: is a text of {sizes[longest]:,} "
                f"bytes, allowed are {schema.MOST_TEXT_BYTES:,}; shorten it"
            )


def _parse_numbers(frame: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    frame = parse_numbers(frame, name, path)
    if name != schema.DIAMETER_MM:
        return frame
    usable = pl.col(name).is_finite() & (pl.col(name) > 0) & (pl.col(name) <= MAX_DIAMETER_MM)
    return frame.with_columns(pl.when(usable).then(pl.col(name)))


def _drop_odd_ratings(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Replace ratings off their scale by null, and describe them; a mean of readers is on the scale."""
    count, first = 0, ""
    for name in ATTRIBUTES:
        if name not in frame.columns:
            continue
        fits = pl.col(name).is_between(1, last_rating(name))
        odd = frame.filter(~fits)
        if odd.height and not first:
            first = f"row {odd[0, schema.CSV_ROW]}, {name} {odd[0, name]:g}, not in [1, {last_rating(name)}]"
        count += odd.height
        frame = frame.with_columns(pl.when(fits).then(pl.col(name)))
    return frame, f"{count} rating(s) lie off their scale and count as missing; first: {first}" if count else ""


def is_reserved(name: str) -> bool:
    """Return whether a further column cannot be kept under this name: commands add one, or polars reads a pattern."""
    return name in _ADDED_COLUMNS or _RESERVED.fullmatch(name) is not None


def _check_diameter_kind(frame: pl.DataFrame, path: Path) -> None:
    if schema.DIAMETER_KIND not in frame.columns:
        return
    kinds = frame.select(schema.CSV_ROW, pl.col(schema.DIAMETER_KIND).str.strip_chars().fill_null(""))
    (first_row, first), *_ = kinds.rows()
    others = kinds.filter(pl.col(schema.DIAMETER_KIND) != first)
    if others.height:
        row, other = others.row(0)
        raise InputError(
            f"{path}: row {row}, column {schema.DIAMETER_KIND}: {_cite(other)}, but {_cite(first)} in row {first_row}; "
            "diameters of one table must be of one kind: make it again, or keep one kind"
        )


def _cite(kind: str) -> str:
    return repr(kind[:40]) if kind else "is empty"


def find_diameter_kind(frame: pl.DataFrame) -> str | None:
    """Return the kind of the diameters of a checked table or of an index; None where it names none."""
    if schema.DIAMETER_KIND not in frame.columns:
        return None
    return next((kind.strip() for kind in frame[schema.DIAMETER_KIND] if kind and kind.strip()), None)


def _resolve_paths(frame: pl.DataFrame, path: Path, roots: Sequence[Path]) -> pl.DataFrame:
    """Store paths with forward slashes; add the absolute path of each row's slice."""
    blank = frame.filter(pl.col(schema.DICOM_PATH).str.strip_chars().fill_null("") == "")
    if blank.height:
        raise InputError(f"{path}: row {blank[0, schema.CSV_ROW]}, column {schema.DICOM_PATH}: is empty")
    frame = frame.with_columns(pl.col(schema.DICOM_PATH).str.strip_chars().str.replace_all("\\", "/", literal=True))
    unique = frame[schema.DICOM_PATH].unique(maintain_order=True)
    found = [find_file(text, roots) for text in unique]
    places = pl.DataFrame({schema.DICOM_PATH: unique, schema.ABSOLUTE_PATH: found})
    return frame.join(places, on=schema.DICOM_PATH, how="left", maintain_order="left")


def _check_paths_inside(frame: pl.DataFrame, path: Path, roots: Sequence[Path]) -> None:
    inside = [root.resolve() for root in roots]
    for row, text, absolute in frame.select(schema.CSV_ROW, schema.DICOM_PATH, schema.ABSOLUTE_PATH).iter_rows():
        if not lies_below(absolute, inside):
            raise InputError(
                f"{path}: row {row}, column {schema.DICOM_PATH}: {text!r} lies outside {inside[0]}; "
                "--restrict-to-root allows only files below the DICOM root"
            )


def lies_below(file: str, folders: Sequence[Path]) -> bool:
    """Return whether a file lies in or under one of some resolved folders, links followed."""
    try:
        resolved = Path(file).resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, or a NUL
        return False
    return any(resolved.is_relative_to(folder) for folder in folders)


def find_file(text: str, roots: Sequence[Path]) -> str:
    """Return the absolute path of a slice: in the first of the folders that has it, else in the first folder."""
    if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        return text
    candidates = [root.absolute() / text for root in roots]
    return str(next((file for file in candidates if _exists(file)), candidates[0]))


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a name that is too long, or a closed folder: its row is rejected later
        return False


def _name_patients(frame: pl.DataFrame) -> pl.DataFrame:
    """Fill `patient_id` from the column, else from a LIDC id in the path, else from the DICOM header."""
    from_path = pl.col(schema.DICOM_PATH).str.extract(LIDC_PATIENT)
    known = (
        pl.col(schema.PATIENT_ID).str.strip_chars().replace("", None)
        if schema.PATIENT_ID in frame.columns
        else pl.lit(None, pl.String)
    )
    frame = frame.with_columns(pl.coalesce(known, from_path).alias(schema.PATIENT_ID))
    nameless = frame.filter(pl.col(schema.PATIENT_ID).is_null())[schema.ABSOLUTE_PATH].unique(maintain_order=True)
    if nameless.len() == 0:
        return _spell_patients_alike(frame)
    headers = pl.DataFrame({schema.ABSOLUTE_PATH: nameless, "of_header": [_read_header_patient(p) for p in nameless]})
    joined = frame.join(headers, on=schema.ABSOLUTE_PATH, how="left", maintain_order="left")
    named = joined.with_columns(pl.coalesce(schema.PATIENT_ID, "of_header").alias(schema.PATIENT_ID)).drop("of_header")
    return _spell_patients_alike(named)


def _spell_patients_alike(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace ids that differ only in case or blanks by the first of them, so that they are one patient."""
    spelling: dict[str, str] = {}
    for patient in frame[schema.PATIENT_ID].unique(maintain_order=True):
        spelling.setdefault(fold_id(patient), patient)
    return frame.with_columns(
        pl.col(schema.PATIENT_ID).map_elements(lambda patient: spelling[fold_id(patient)], return_dtype=pl.String)
        if len(spelling) < frame[schema.PATIENT_ID].n_unique()
        else pl.col(schema.PATIENT_ID)
    )


def _read_header_patient(path: str) -> str:
    """Return the PatientID of a file, or "" for one that cannot be read: its rows are rejected when crops are cut."""
    from noduleclip.io.dicom.slice import read_patient_id

    try:
        return read_patient_id(Path(path))
    except InputError:
        return ""
