"""The consensus of readers: from a row per outline to a row per nodule, on the slice where it is largest."""

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.outlines import MOST_CHARACTERS, OUTLINES

MOST_OUTLINE_BYTES = 1 << 18  # of a nodule; of one with longer outlines only those on its key slice are kept
KIND_RATINGS = (schema.CALCIFICATION, schema.INTERNAL_STRUCTURE)  # numbers of kinds, which have no mean
_ONE_FOR_ALL_SLICES = ("3d", "volume")  # kinds of diameters
_DIGITS = 6  # of a mean: equal diameters have equal means in any order of their readers
_BLANK, _NUMBER = r"[ \t\r\n]*", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_POINT = rf"\[{_BLANK}{_NUMBER}{_BLANK},{_BLANK}{_NUMBER}{_BLANK}\]"
_POINTS = rf"^{_BLANK}\[{_BLANK}{_POINT}(?:{_BLANK},{_BLANK}{_POINT})*{_BLANK}\]{_BLANK}$"
# Private columns: the number of a nodule, a slice of it, a reader of it is that of its first row in the table.
_NODULE, _SLICE, _READER = "nodule", "slice", "of_reader"
_NAMELESS, _SIZE, _AREA, _BY_DIAMETER, _ORDER = "nameless", "size", "area", "by_diameter", "order"
_CENTERS = (schema.CENTER_X, schema.CENTER_Y, schema.CENTROID_X, schema.CENTROID_Y)


def names_nodules(frame: pl.DataFrame) -> bool:
    """Return whether any row of a table says which nodule it is of."""
    return schema.NODULE_ID in frame.columns and frame[schema.NODULE_ID].null_count() < frame.height


def find_unit(frame: pl.DataFrame) -> str:
    """Return the unit of a frame's rows: "nodule" for what `collapse_nodules` returned, else "outline"."""
    return schema.NODULE_UNIT if schema.READER_DIAMETERS in frame.columns else schema.OUTLINE_UNIT


def describe_shared_ids(frame: pl.DataFrame) -> str | None:
    """Describe how many nodules of a table have rows in several series; None where none has."""
    if schema.SERIES_UID not in frame.columns or not names_nodules(frame):
        return None
    named = frame.filter(pl.col(schema.NODULE_ID).is_not_null())
    nodules = named.group_by(schema.PATIENT_ID, schema.NODULE_ID, maintain_order=True)
    shared = nodules.agg(pl.col(schema.SERIES_UID).n_unique()).filter(pl.col(schema.SERIES_UID) > 1)
    if shared.height == 0:
        return None
    patient, nodule = shared.row(0)[:2]
    return (
        f"{shared.height:,} nodule(s) have rows in several series and count as one each; "
        f"first: {patient} nodule {nodule}"
    )


def expand_readers(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row per reader of the metadata of an index, with that reader's diameter and ratings.

    Rows of outlines are those of one reader already.
    """
    if find_unit(frame) != schema.NODULE_UNIT:
        return frame
    lists = [name for name in schema.READER_LISTS if name in frame.columns]
    names = {name: name.removeprefix(schema.READER_PREFIX) for name in lists} | {
        schema.READER_DIAMETERS: schema.DIAMETER_MM
    }
    means = [name for name in (schema.DIAMETER_MM, *schema.RATING_COLUMNS) if name in frame.columns]
    return frame.drop(means).explode(lists).rename(names)


def collapse_nodules(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a row per nodule, in the order in which the table first names them.

    Rows of one patient with the same `nodule_id` are a nodule; a row without one is a nodule of its own. A
    nodule is represented by its key slice, that with the largest mean of its readers' diameters, of equal ones the
    first of the table; where it has no diameters, or such as are the same on all slices, that with the largest mean box
    of its readers, of equal ones the middle one. Several curves of one reader on a slice count once, as the one with
    the largest diameter. Where the table names no readers, rows that share nodule and slice are of different ones.

    Args:
        frame: Rows of a ROI table, one per outline.

    Returns:
        The columns of the first row on the key slice, without `reader`, and with these anew:

        - diameter and centre: means of the readers who drew there; the box: all of theirs together;
        - ratings: means of all readers of the nodule; of kinds the most frequent, of equally frequent ones the larger;
        - `volume_mm3`: mean of all readers of the nodule;
        - `readers`, `slices`: how many readers outlined it, and on how many slices;
        - `reader_diameters_mm`, `reader_…`: lists of what each reader who drew there measured and rated, null where one
          is missing;
        - `points_json`: the slices of the nodule with all outlines, as `parse_slices` reads them.

    Raises:
        InputError: More readers outlined a nodule on a slice than an index holds.
    """
    outlines = _number_outlines(frame)
    drawn = _merge_curves(outlines)
    key = _choose_slices(_describe_slices(drawn), frame)
    consensus = key.select(pl.exclude(_SIZE, _AREA, _BY_DIAMETER, _ORDER))
    for further in (_list_readers(drawn, key), _average_readers(outlines), _format_slices(outlines, key)):
        consensus = consensus.join(further, on=_NODULE, how="left", maintain_order="left")
    base = frame[consensus[_SLICE]]
    found = consensus.drop(_NODULE, _SLICE)
    _check_readers(base, found)
    return base.drop(schema.READER, *found.columns, strict=False).hstack(found)


def select_key_slices(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows on the key slices of their nodules, in the order of the table; see `collapse_nodules`."""
    outlines = _number_outlines(frame)
    key = _choose_slices(_describe_slices(_merge_curves(outlines)), frame)
    return frame.filter(outlines[_SLICE].is_in(key[_SLICE].implode()))


def _number_outlines(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the numbers of their nodule, slice and reader."""
    row, reader, named = pl.col(schema.ROW), pl.col(schema.READER), (schema.PATIENT_ID, schema.NODULE_ID)
    needed = {**dict.fromkeys((*named, schema.READER), pl.String), schema.FRAME: pl.Float64}
    absent = [pl.lit(None, kind).alias(name) for name, kind in needed.items() if name not in frame.columns]
    numbers = [pl.col(name).cast(pl.Float64) for name in schema.NUMBER_COLUMNS if name in frame.columns]
    xmin, ymin, xmax, ymax = (pl.col(name) for name in schema.BOX_COLUMNS)
    return (
        frame.with_row_index(schema.ROW)
        .with_columns(*absent, *numbers)
        .with_columns(
            pl.when(pl.col(schema.NODULE_ID).is_null()).then(row).otherwise(row.min().over(named)).alias(_NODULE)
        )
        .with_columns(row.min().over(_NODULE, schema.DICOM_PATH, pl.col(schema.FRAME).fill_null(1)).alias(_SLICE))
        .with_columns(pl.when(reader.is_null()).then(reader.is_null().cum_sum().over(_SLICE)).alias(_NAMELESS))
        .with_columns(
            row.min().over(_NODULE, schema.READER, _NAMELESS).alias(_READER),
            ((xmax - xmin + 1) * (ymax - ymin + 1)).cast(pl.Float64).alias(_AREA),
        )
    )


def _merge_curves(outlines: pl.DataFrame) -> pl.DataFrame:
    """Return a row per reader on a slice: the curve with the largest diameter, in the box of all curves."""
    of_curve = [name for name in (schema.DIAMETER_MM, *_CENTERS) if name in outlines.columns]
    ratings = [name for name in schema.RATING_COLUMNS if name in outlines.columns]
    keys = (_NODULE, _SLICE, _READER)
    columns = (*keys, *of_curve, *schema.BOX_COLUMNS, _AREA, *ratings)
    several = pl.len().over(keys) > 1
    xmin, ymin, xmax, ymax = schema.BOX_COLUMNS
    merged = (
        outlines.filter(several)
        .group_by(keys, maintain_order=True)
        .agg(
            pl.col(of_curve).get(pl.col(schema.DIAMETER_MM).fill_null(-1).arg_max()),
            pl.col(xmin, ymin).min(),
            pl.col(xmax, ymax).max(),
            pl.col(_AREA).sum(),
            pl.col(ratings).drop_nulls().first(),
        )
    )
    return pl.concat([outlines.filter(~several).select(columns), merged.select(columns)]).sort(keys)


def _describe_slices(drawn: pl.DataFrame) -> pl.DataFrame:
    """Return a row per slice of a nodule: the means of the readers who drew there, and the box of all."""
    xmin, ymin, xmax, ymax = schema.BOX_COLUMNS
    means = [name for name in (schema.DIAMETER_MM, *_CENTERS, _AREA) if name in drawn.columns]
    return drawn.group_by(_NODULE, _SLICE, maintain_order=True).agg(
        pl.col(means).mean().round(_DIGITS), pl.col(xmin, ymin).min(), pl.col(xmax, ymax).max()
    )


def _choose_slices(slices: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the key slices, with the number of the nodule's slices."""
    places = frame[schema.Z_MM] if schema.Z_MM in frame.columns else pl.repeat(None, frame.height, eager=True)
    differs = pl.lit(not _measures_nodules(frame))
    by_diameter = pl.col(schema.DIAMETER_MM).is_not_null().any().over(_NODULE) & differs
    largest = pl.col(_SIZE) == pl.col(_SIZE).max().over(_NODULE)
    middle = pl.when(_BY_DIAMETER).then(0).otherwise((pl.len() - 1) // 2)
    return (
        slices.with_columns(
            by_diameter.alias(_BY_DIAMETER),
            places[slices[_SLICE]].alias(_ORDER),
            pl.len().over(_NODULE).alias(schema.SLICES),
        )
        .with_columns(
            pl.when(_BY_DIAMETER).then(schema.DIAMETER_MM).otherwise(_AREA).fill_null(-1).alias(_SIZE),
            pl.when(~pl.col(_BY_DIAMETER)).then(_ORDER).alias(_ORDER),
        )
        .filter(largest)
        .sort(_NODULE, _ORDER, _SLICE, nulls_last=True)
        .filter(pl.int_range(pl.len()).over(_NODULE) == middle.over(_NODULE))
    )


def _measures_nodules(frame: pl.DataFrame) -> bool:
    """Return whether the diameters of a table are the same on all slices of a nodule."""
    if schema.DIAMETER_KIND not in frame.columns:
        return False
    return bool(frame[schema.DIAMETER_KIND].str.strip_chars().is_in(_ONE_FOR_ALL_SLICES).any())


def _list_readers(drawn: pl.DataFrame, key: pl.DataFrame) -> pl.DataFrame:
    """Return, for each nodule, the lists of the diameters and ratings of those who drew on its key slice."""
    names = {schema.DIAMETER_MM: schema.READER_DIAMETERS}
    names |= {name: schema.READER_PREFIX + name for name in schema.RATING_COLUMNS if name in drawn.columns}
    there = drawn.filter(pl.col(_SLICE).is_in(key[_SLICE].implode()))
    lists = [pl.col(name).cast(pl.Float64).alias(of_readers) for name, of_readers in names.items()]
    return there.group_by(_NODULE, maintain_order=True).agg(lists)


def _average_readers(outlines: pl.DataFrame) -> pl.DataFrame:
    """Return, for each nodule, the ratings and volumes of all its readers as one, and how many they are."""
    names = [name for name in (*schema.RATING_COLUMNS, schema.VOLUME_MM3) if name in outlines.columns]
    means = [pl.col(name).mean().round(_DIGITS) for name in names if name not in KIND_RATINGS]
    kinds = [pl.col(name).drop_nulls().mode().max() for name in names if name in KIND_RATINGS]
    readers = outlines.group_by(_NODULE, _READER, maintain_order=True).agg(pl.col(names).drop_nulls().first())
    return readers.group_by(_NODULE, maintain_order=True).agg(pl.len().alias(schema.READERS), *means, *kinds)


def _format_slices(outlines: pl.DataFrame, key: pl.DataFrame) -> pl.DataFrame:
    """Return, for each nodule, its slices with all outlines, as JSON."""
    text = pl.col(schema.POINTS_JSON) if schema.POINTS_JSON in outlines.columns else pl.lit(None, pl.String)
    is_outline = text.str.contains(_POINTS) & (text.str.len_bytes() <= MOST_CHARACTERS)

    def find(name: str, kind: type[pl.DataType]) -> pl.Expr:
        number = pl.col(name) if name in outlines.columns else pl.lit(None, pl.Float64)
        return pl.when(number.is_finite()).then(number).cast(kind, strict=False).first().alias(name)

    slices = (
        outlines.with_columns(pl.when(is_outline).then(text).alias(schema.POINTS_JSON))
        .group_by(_NODULE, _SLICE, maintain_order=True)
        .agg(
            pl.col(schema.DICOM_PATH).first(), find(schema.FRAME, pl.Int64), find(schema.Z_MM, pl.Float64),
            pl.col(schema.POINTS_JSON).drop_nulls().str.join(","),
        )
    )  # fmt: skip
    size, of_all = pl.col(schema.POINTS_JSON).str.len_bytes(), pl.col(_SIZE).sum().over(_NODULE)
    is_key = pl.col(_SLICE).is_in(key[_SLICE].implode())
    kept = (of_all <= MOST_OUTLINE_BYTES) | (is_key & (pl.col(_SIZE) <= MOST_OUTLINE_BYTES))
    place = pl.struct(schema.DICOM_PATH, schema.FRAME, schema.Z_MM).struct.json_encode().str.strip_suffix("}")
    curves = pl.when(kept).then(schema.POINTS_JSON).otherwise(pl.lit(""))
    written = pl.concat_str(place, pl.lit(f',"{OUTLINES}":['), curves, pl.lit("]}"))
    return (
        slices.with_columns(size.alias(_SIZE))
        .with_columns(written.alias(schema.POINTS_JSON))
        .sort(_NODULE, schema.Z_MM, _SLICE, nulls_last=True)
        .group_by(_NODULE, maintain_order=True)
        .agg(pl.format("[{}]", pl.col(schema.POINTS_JSON).str.join(",")).alias(schema.POINTS_JSON))
    )


def _check_readers(base: pl.DataFrame, found: pl.DataFrame) -> None:
    most = found[schema.READER_DIAMETERS].list.len().arg_max()
    if most is not None and (readers := len(found[most, schema.READER_DIAMETERS])) > schema.MOST_READERS:
        nodule = base.row(most, named=True)
        raise InputError(
            f"row {nodule.get(schema.CSV_ROW)}: nodule {nodule[schema.NODULE_ID]!r} of patient "
            f"{nodule[schema.PATIENT_ID]!r} has {readers:,} readers on one slice, allowed are {schema.MOST_READERS:,}; "
            "give each nodule an id of its own, or embed with --unit outline"
        )
