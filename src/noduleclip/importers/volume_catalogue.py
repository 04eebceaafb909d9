"""Folders of volumes, such as LUNA16's subsets, as tables of slices like those of DICOM.

The pipeline reads DICOM, so derived DICOM is written for the slices that a table needs.
"""

import contextlib
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, SliceError
from noduleclip.importers.annotations import RejectedAnnotation
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.files import Walk, find_files
from noduleclip.importers.slice_columns import COLUMNS, MODALITY, ORIENTATION, PATH, POSITION, ROWS, SLICE_COLUMNS
from noduleclip.importers.volume_names import VolumeFinder, narrow
from noduleclip.io.dicom.derived_ct import keep_file, make_derived_slice, make_derived_uid
from noduleclip.io.disk import require_space, round_to_blocks
from noduleclip.io.volumes.formats import VOLUME_SUFFIXES, open_volume
from noduleclip.io.volumes.hu_slices import HuSlices
from noduleclip.io.volumes.labels import looks_like_labels
from noduleclip.io.volumes.volume import Rescale, Volume

DICOM_FOLDER: Final = "dicom"
_DIGITS: Final = 16
_MOST_NAMED: Final = 3
_ROWS_A_PART: Final = 2_000
_HEADER_BYTES: Final = 1024  # of a derived slice, about


@dataclass(frozen=True)
class VolumeSeries:
    """The CT of some series as volumes.

    Attributes:
        images: By the name of the series: that of the file without its ending, or where others have the same, its path.
        names: Names of series by those that were looked for.
        rejected: Files that are no usable CT, and names that several have.
        masks: Number of files that are masks.
        closed: Parts of the folder that cannot be opened.
        remarks: Oddities of the headers, a sentence each.
        present: Paths of all volumes from the folder.
        unusable: Index in `rejected` of what is wrong with the volumes of a name, by the names that have no image.
        links: End of a message on links that are not followed; empty without any.
    """

    images: Mapping[str, Volume]
    names: Mapping[str, str]
    rejected: list[RejectedAnnotation]
    masks: int
    closed: Sequence[RejectedAnnotation] = ()
    remarks: Sequence[str] = ()
    present: Sequence[str] = ()
    unusable: Mapping[str, int] = field(default_factory=dict)
    links: str = ""

    @property
    def hint(self) -> str:
        """The end of a message that no CT has a name: empty, or what the volumes are."""
        if self.masks:
            return f"; {self.masks:,} volumes of these names have 8 bits, as masks (--rescale takes them for CT)"
        if not self.present:
            return self.links
        named = ", ".join(self.present[:_MOST_NAMED]) + (", …" if len(self.present) > _MOST_NAMED else "")
        return f"; the {len(self.present):,} volumes there are {named}{self.links}"


class WrittenSlices(NamedTuple):
    """Slices that were written as derived DICOM.

    Attributes:
        written: Number of files written.
        rejected: Images that cannot be read or are not in HU, whose rows have no slice.
        remarks: Doubts about values that the user says are HU, a sentence each.
    """

    written: int
    rejected: list[RejectedAnnotation]
    remarks: list[str]


def find_volumes(root: Path, wanted: Collection[str], max_pixels: int, rescale: Rescale | None = None) -> VolumeSeries:
    """Read the headers of the volumes below a folder that a table names; hidden files are left out.

    Args:
        root: The folder.
        wanted: Names of series: of files or paths, with or without the ending and nnU-Net's `_0000`.
        max_pixels: Largest slice, in pixels.
        rescale: Slope and intercept that make HU of the values; None = they are HU.
    """
    walk = Walk()
    paths = find_files(root, *VOLUME_SUFFIXES, walk=walk)
    finder = VolumeFinder(root, paths)
    candidates = {name: found for name in sorted(wanted) if (found := finder.find(name))}
    named = {path for found in candidates.values() for path in found}
    images, masks, rejected = _open_volumes(finder.list_namesakes(named), named, max_pixels, rescale)
    if rescale is not None:  # then values of 8 bits may be CT
        for found in candidates.values():
            if not any(path in images for path in found):
                images |= {path: masks.pop(path) for path in found if path in masks}
    for found in candidates.values():
        for path in _find_labels([path for path in found if path in images], images):
            masks[path] = images.pop(path)
    series, names, unusable = finder.name_series(images), {}, {}
    broken = {one.path: index for index, one in enumerate(rejected)}
    for name, found in candidates.items():
        usable = narrow(name, [path for path in found if path in images])
        if len(usable) == 1:
            names[name] = series[usable[0]]
        elif usable:
            reason = (
                f"{name[:80]!r} may be {usable[0]} or {usable[1]}; name it {series[usable[0]]!r} or "
                f"{series[usable[1]]!r}, or name the folder of the images as --data-root"
            )
            unusable[name] = len(rejected)
            rejected.append(RejectedAnnotation(usable[0], RejectCode.NO_SERIES, reason))
        elif refused := [broken[path] for path in found if path in broken]:
            unusable[name] = refused[0]
    by_series = {series[path]: image for path, image in images.items()}
    used = {uid: by_series[uid] for uid in sorted(set(names.values()))}
    remarks = [remark for image in used.values() for remark in image.stored.remarks]
    present = [path.relative_to(root).as_posix() for path in paths]
    return VolumeSeries(
        used, names, rejected, len(named & set(masks)), walk.rejected, remarks, present, unusable, walk.hint
    )


def _find_labels(paths: Sequence[Path], images: Mapping[Path, Volume]) -> list[Path]:
    """Return which of several images of one name are masks by their values, until one is left.

    Small files are looked at first: compressed, those are the masks.
    """
    found: list[Path] = []
    for path in sorted(paths, key=lambda path: path.stat().st_size):
        if len(found) == len(paths) - 1:
            break
        with contextlib.suppress(InputError):  # broken files are reported when they are read
            if looks_like_labels(images[path]):
                found.append(path)
    return found


def _open_volumes(
    paths: Collection[Path], named: Collection[Path], max_pixels: int, rescale: Rescale | None
) -> tuple[dict[Path, Volume], dict[Path, Volume], list[RejectedAnnotation]]:
    """Return images, masks, and which of the named volumes cannot be read."""
    images: dict[Path, Volume] = {}
    masks: dict[Path, Volume] = {}
    rejected = []
    for path in paths:
        try:
            volume = open_volume(path, max_pixels, rescale)
        except InputError as error:
            if path in named:
                rejected.append(RejectedAnnotation(path, RejectCode.BAD_HEADER, str(error)))
        else:
            (masks if volume.stored.is_mask else images)[path] = volume
    return images, masks, rejected


def list_volume_slices(images: Mapping[str, Volume], out: Path) -> pl.DataFrame:
    """Return the slices of volumes as rows of a catalogue, with the paths that their DICOM will have.

    No path is built from the name of a series: its folder is named by its hash.
    """
    frames: list[pl.DataFrame] = []
    rows: list[dict[str, Any]] = []
    for series_uid in sorted(images):
        folder = out.absolute() / DICOM_FOLDER / hashlib.sha256(series_uid.encode()).hexdigest()[:_DIGITS]
        for index, plane in enumerate(images[series_uid].planes):
            rows.append(
                {
                    PATH: str(folder / f"{index:05d}.dcm"),
                    MODALITY: "CT",
                    schema.SOP_UID: make_derived_uid(series_uid, index),
                    schema.SERIES_UID: series_uid,
                    schema.PATIENT_ID: "",
                    schema.SPACING_ROW: plane.spacing_yx_mm[0],
                    schema.SPACING_COL: plane.spacing_yx_mm[1],
                    **dict(zip((*POSITION, *ORIENTATION), (*plane.position_mm, *plane.orientation), strict=True)),
                    ROWS: plane.shape_yx[0],
                    COLUMNS: plane.shape_yx[1],
                }
            )
        if len(rows) >= _ROWS_A_PART:  # as rows they take ten times more, and as many small parts, too
            frames.append(pl.DataFrame(rows, schema=SLICE_COLUMNS, orient="row"))
            rows = []
    return pl.concat([*frames, pl.DataFrame(rows, schema=SLICE_COLUMNS, orient="row")], rechunk=True)


def recognise_derived(out: Path) -> Callable[[str], bool]:
    """Return a function that recognises folders of slices that `list_volume_slices` named for `out`."""
    parent, name = (out / DICOM_FOLDER).resolve(), re.compile(rf"[0-9a-f]{{{_DIGITS}}}")

    def is_derived(folder: str) -> bool:
        path = Path(folder)
        return bool(name.fullmatch(path.name)) and path.parent.resolve() == parent

    return is_derived


def join_catalogues(dicom: Catalogue | None, slices: pl.DataFrame, root: Path, out: Path) -> Catalogue:
    """Return a catalogue of a folder's DICOM, if it has any, and of slices from `list_volume_slices` for `out`.

    A series that is there as DICOM, too, is taken from it. Relative paths start from a folder that contains all slices.
    """
    if dicom is None:
        nothing = pl.DataFrame(schema=SLICE_COLUMNS)
        return Catalogue(root, slices, nothing, nothing, 0, 0, paths_from=out)
    others = slices.join(dicom.slices, on=schema.SERIES_UID, how="anti", maintain_order="left")
    if others.is_empty():
        return dicom
    both = pl.concat([dicom.slices, others]).sort(schema.SERIES_UID, PATH)
    above = Path(os.path.commonpath([os.path.normpath(folder.absolute()) for folder in (root, out)]))
    return replace(dicom, root=root, slices=both, paths_from=above)


def write_needed(images: Mapping[str, Volume], rois: pl.DataFrame) -> WrittenSlices:
    """Write the slices that rows of a table name as derived DICOM, each whole or not at all.

    Those of a volume whose values are not HU are not written. A file that is there as it would be written is left
    alone, so that a killed run goes on.

    Args:
        images: The volumes.
        rois: Rows on slices of `list_volume_slices`.

    Raises:
        OutputError: A file cannot be written.
    """
    needed: dict[str, dict[int, tuple[Path, str]]] = defaultdict(dict)
    columns = (schema.SERIES_UID, schema.DICOM_PATH, schema.PATIENT_ID)
    for series_uid, name, patient_id in rois.select(columns).unique().sort(columns).iter_rows():
        if series_uid in images:
            needed[series_uid][int(Path(name).stem)] = (Path(name), patient_id)
    # They are written one by one, and those that are there are left alone.
    missing = [(images[uid], path) for uid, some in needed.items() for path, _ in some.values() if not path.exists()]
    if missing:
        sizes = [2 * image.shape_zyx[1] * image.shape_zyx[2] + _HEADER_BYTES for image, _ in missing]
        require_space(missing[0][1], sum(map(round_to_blocks, sizes)))
    written, rejected, remarks = 0, [], []
    for series_uid, slices in needed.items():
        image = images[series_uid]
        try:
            found = HuSlices(image, slices)
            if found.doubt is not None:
                remarks.append(f"{image.path}: {found.doubt} (used as --rescale says)")
            for index, hu in found:
                path, patient_id = slices[index]
                plane = image.find_plane(index)
                content = make_derived_slice(
                    hu,
                    key=series_uid,
                    index=index,
                    patient_id=patient_id,
                    position_mm=plane.position_mm,
                    orientation=plane.orientation,
                    spacing_yx_mm=plane.spacing_yx_mm,
                    spacing_z_mm=image.spacing_xyz_mm[2],
                )
                written += keep_file(path, content)
        except InputError as error:
            code = error.code if isinstance(error, SliceError) else RejectCode.TRUNCATED_PIXELS
            rejected.append(RejectedAnnotation(image.path, code, str(error)))
    return WrittenSlices(written, rejected, remarks)
