"""Which mask belongs to which image, by their names."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode
from noduleclip.importers.annotations import RejectedAnnotation
from noduleclip.importers.segments import names_anatomy
from noduleclip.io.text_table import read_text_frame
from noduleclip.io.volumes.formats import strip_volume_suffix

IMAGE: Final = "image"
MASK: Final = "mask"
_PAIR_COLUMNS: Final = (IMAGE, MASK, schema.READER, schema.PATIENT_ID, schema.NODULE_ID)
_IMAGE_NAMES: Final = frozenset(("ct", "image", "images", "imaging", "img", "scan", "vol", "volume"))
_IMAGE_ENDING: Final = re.compile(r"(.+?)[_\-. ](?:0000|ct|image|img|scan|vol|volume)", re.I)
_MASK_START: Final = re.compile(r"(?:masks?|seg|segmentation|labels?|lesions?|nodules?|annotation|gt)[_\-. ](.+)", re.I)
_SEPARATORS: Final = "_-. "
_MOST_NAMED: Final = 3


@dataclass(frozen=True)
class ImageName:
    """The names by which masks may know an image.

    Attributes:
        series_uid: The series.
        shown: File or folder of the image, for messages.
        folders: Folders below the root of the images that it lies in.
        names: Names that masks may have, begin with, or lie in a folder of, in lower case.
    """

    series_uid: str
    shown: str
    folders: tuple[str, ...]
    names: frozenset[str]

    @property
    def is_generic(self) -> bool:
        """Whether its name is that of any image, such as `ct` or `image`."""
        return bool(self.names & _IMAGE_NAMES)


@dataclass(frozen=True)
class Pair:
    """A mask and its image.

    Attributes:
        mask: The file.
        series_uid: The series of the image.
        reader: Who drew the mask.
        part: What the name of the mask has beside that of its image, such as `lung_nodules`.
        patient_id: Patient as given; else empty.
        nodule_id: Nodule that the whole mask is, as given; else empty.
    """

    mask: Path
    series_uid: str
    reader: str = ""
    part: str = ""
    patient_id: str = ""
    nodule_id: str = ""


@dataclass(frozen=True)
class Pairs:
    """Masks with their images, by mask, and why others have none."""

    found: list[Pair]
    rejected: list[RejectedAnnotation]


def name_image(series_uid: str, relative: PurePath, shown: str) -> ImageName:
    """Return the names of a volume.

    Args:
        series_uid: Its series.
        relative: The file, from the root of the images.
        shown: The file, for messages.
    """
    stem = strip_volume_suffix(relative.name)
    names = {stem, series_uid}
    if match := _IMAGE_ENDING.fullmatch(stem):
        names.add(match.group(1))
    return ImageName(series_uid, shown, tuple(relative.parts[:-1]), _fold(names))


def name_series(series_uid: str, folders: Sequence[str], shown: str) -> ImageName:
    """Return the names of a DICOM series: its UID, and the folders below the root that its files lie in."""
    return ImageName(series_uid, shown, tuple(folders), _fold({series_uid, *folders}))


def tell_apart(files: Collection[PurePath]) -> set[PurePath]:
    """Return which of the volumes in one folder are images, by their names: the others are masks.

    An image is called `ct`, `image` and the like, or ends in `_0000`. Where there is none in a folder nor in one above,
    an image is what has a name that others in its folder begin with, unless it is that of a lung or so.
    """
    stems = {file: strip_volume_suffix(file.name).casefold() for file in files}
    images = {file for file, stem in stems.items() if stem in _IMAGE_NAMES or _IMAGE_ENDING.fullmatch(stem)}
    settled = {file.parent for file in images}
    starts: dict[PurePath, set[str]] = defaultdict(set)
    for file, stem in stems.items():
        starts[file.parent].update(_list_starts(stem))
    for file, stem in stems.items():
        if stem in starts[file.parent] and not names_anatomy(stem) and settled.isdisjoint(file.parents):
            images.add(file)
    return images


def pair_by_name(masks: Sequence[tuple[Path, PurePath]], images: Sequence[ImageName]) -> Pairs:
    """Find the image of each mask.

    In this order: the same path below both roots; the same name; a name that begins with that of the image, where the
    rest is the reader; a folder with the name of the image, or in a folder of the image's name. Where that leaves a
    choice, the image that shares the most folders is taken. A single image is that of all masks of a folder
    where none is found.

    Args:
        masks: Files, absolute and from the root of the masks.
        images: The images.
    """
    found: list[Pair] = []
    rejected: list[RejectedAnnotation] = []
    index = _ImageIndex(images)
    for path, relative in masks:
        hits, part = index.find(relative)
        if len(hits) == 1:
            found.append(Pair(path, hits[0].series_uid, part=part))
        elif hits:
            named = ", ".join(sorted(one.shown for one in hits)[:_MOST_NAMED])
            reason = f"{path}: may be of {len(hits)} images, such as {named}; name its image with --pairs"
            rejected.append(RejectedAnnotation(path, RejectCode.NO_IMAGE, reason))
        else:
            reason = f"{path}: no image has its name, nor that of its folder; name its image with --pairs"
            rejected.append(RejectedAnnotation(path, RejectCode.NO_IMAGE, reason))
    if not found and len(images) == 1 and len({relative.parent for _, relative in masks}) == 1:
        stems = ((path, strip_mask_suffix(relative.name)) for path, relative in masks)
        return Pairs(_name_readers([Pair(path, images[0].series_uid, part=stem) for path, stem in stems], masks), [])
    return Pairs(_name_readers(found, masks), rejected)


def read_pairs(table: Path, find_image: Callable[[str], str | None], find_mask: Callable[[str], Path | None]) -> Pairs:
    """Read a CSV of images and masks.

    Args:
        table: Columns image and mask, and those of reader, patient_id and nodule_id that are known.
        find_image: Returns the series that a cell names.
        find_mask: Returns the file that a cell names.

    Raises:
        InputError: The file is no such table.
    """
    frame = read_text_frame(table, "table of pairs", _PAIR_COLUMNS)
    columns = {name.strip().casefold(): name for name in frame.columns}
    if absent := [name for name in (IMAGE, MASK) if name not in columns]:
        raise InputError(f"{table}: needs the columns image and mask, has no {' and no '.join(absent)}")
    found: list[Pair] = []
    seen: set[tuple[Path, str]] = set()
    rejected: list[RejectedAnnotation] = []
    for row, cells in enumerate(frame.iter_rows(named=True), 1):
        values = {name: str(cells[columns[name]] or "").strip() for name in _PAIR_COLUMNS if name in columns}
        image, mask = find_image(values[IMAGE]), find_mask(values[MASK])
        if image is None or mask is None:
            lost, value = (IMAGE, values[IMAGE]) if image is None else (MASK, values[MASK])
            reason = f"{table}: row {row}: there is no {lost} {value[:80]!r} below --{lost}s"
            rejected.append(RejectedAnnotation(table, RejectCode.MISSING_FILE, reason))
            continue
        if (mask, image) in seen:
            reason = f"{table}: row {row}: {values[MASK][:80]!r} is in an earlier row; leave one of them out"
            rejected.append(RejectedAnnotation(table, RejectCode.NO_IMAGE, reason))
            continue
        seen.add((mask, image))
        found.append(
            Pair(
                mask,
                image,
                values.get(schema.READER, ""),
                patient_id=values.get(schema.PATIENT_ID, ""),
                nodule_id=values.get(schema.NODULE_ID, ""),
            )
        )
    return Pairs(_name_readers(found, [(one.mask, PurePath(one.mask.name)) for one in found]), rejected)


def strip_mask_suffix(name: str) -> str:
    """Return the name of a mask without its ending, and without the .seg of 3D Slicer."""
    return strip_volume_suffix(name).removesuffix(".seg").removesuffix("-seg")


class _ImageIndex:
    """Finds images by their names; a collection may have a hundred thousand masks."""

    def __init__(self, images: Sequence[ImageName]) -> None:
        self._by_name: dict[str, list[ImageName]] = defaultdict(list)
        self._by_folder: dict[str, list[ImageName]] = defaultdict(list)
        for one in images:
            for name in one.names:
                self._by_name[name].append(one)
            if one.folders:
                self._by_folder[one.folders[-1]].append(one)

    def find(self, relative: PurePath) -> tuple[list[ImageName], str]:
        """Return the images that a mask may be of, and what its name has beside theirs."""
        folders, stem = relative.parts[:-1], strip_mask_suffix(relative.name)
        bare = match.group(1) if (match := _MASK_START.fullmatch(stem)) else stem
        for name in dict.fromkeys((stem, bare)):
            folded = name.casefold()
            if hits := self._by_name.get(folded):
                return _choose_by_folder(hits, folders), ""
            for start in _list_starts(folded):
                if hits := self._by_name.get(start):
                    rest = len(folded) - len(start)  # from the end, as folding may lengthen a name
                    return _choose_by_folder(hits, folders), name[-rest:].strip(_SEPARATORS)
        for folder in reversed(folders):
            if hits := self._by_name.get(folder.casefold()):
                return _choose_by_folder(hits, folders), stem
        hits = [one for folder in dict.fromkeys(folders) for one in self._by_folder.get(folder, ())]
        return _choose_by_folder(hits, folders), stem


def _choose_by_folder(hits: Sequence[ImageName], folders: Sequence[str]) -> list[ImageName]:
    """Of several images keep those that share the most folders with a mask, and of these those called `ct` or so."""
    if len(hits) < 2:
        return list(hits)
    shared = [len({*one.folders} & {*folders}) - len({*one.folders} - {*folders}) / 1e3 for one in hits]
    best = [one for one, count in zip(hits, shared, strict=True) if count == max(shared)]
    generic = [one for one in best if one.is_generic]
    return generic if len(generic) == 1 else best


def _list_starts(name: str) -> list[str]:
    """Return what a name has before each of its separators that something follows, the longest first."""
    return [name[:at] for at in range(len(name) - 2, 0, -1) if name[at] in _SEPARATORS]


def _name_readers(pairs: Sequence[Pair], masks: Sequence[tuple[Path, PurePath]]) -> list[Pair]:
    """Name the readers of each image: by what the names of their masks have beside the image's, else by folders."""
    relative = dict(masks)
    by_series: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_series[pair.series_uid].append(pair)
    named: dict[int, str] = {}
    for group in by_series.values():
        names = [one.reader or one.part for one in group]
        if len(group) > 1 and len(set(names)) < len(names):
            folders = ["/".join(relative[one.mask].parts[:-1]) for one in group]
            names = [
                one.reader or "/".join(filter(None, (folder, one.part)))
                for one, folder in zip(group, folders, strict=True)
            ]
            if len(set(names)) < len(names):
                names = [one.reader or strip_mask_suffix(relative[one.mask].name) for one in group]
        named |= {id(one): name or "1" for one, name in zip(group, names, strict=True)}
    return [replace(pair, reader=named[id(pair)]) for pair in pairs]


def _fold(names: Collection[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)
