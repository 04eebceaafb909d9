"""The images and masks below two folders, which may be the same, and which mask is of which image."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.importers.annotations import RejectedAnnotation
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.files import Walk, find_files
from noduleclip.importers.mask_pairs import (
    ImageName,
    Pair,
    Pairs,
    name_image,
    name_series,
    pair_by_name,
    read_pairs,
    tell_apart,
)
from noduleclip.importers.segments import names_anatomy
from noduleclip.importers.slice_columns import PATH
from noduleclip.importers.volume_names import VolumeFinder
from noduleclip.io.volumes.formats import VOLUME_SUFFIXES, strip_volume_suffix

_Files = list[tuple[Path, PurePath]]


@dataclass(frozen=True)
class MaskFiles:
    """Masks with their images.

    Attributes:
        pairs: Masks, by series and path.
        volumes: Files of the images that are volumes, by the name of the series.
        rejected: Masks without an image.
        images: Number of images, of volumes and DICOM series.
        anatomy: Masks that are named as lungs and other parts of the body, which are left out.
        closed: Parts of the folders that cannot be opened.
    """

    pairs: Sequence[Pair]
    volumes: Mapping[str, Path]
    rejected: Sequence[RejectedAnnotation]
    images: int
    anatomy: Sequence[Path] = ()
    closed: Sequence[RejectedAnnotation] = field(default_factory=list)

    @property
    def unmasked(self) -> int:
        """Number of images without a mask."""
        return self.images - len({pair.series_uid for pair in self.pairs})


def find_masks(
    images: Path, masks: Path, dicom: Catalogue | None, table: Path | None, *, any_name: bool = False
) -> MaskFiles:
    """Find the image of each mask.

    Args:
        images: Folder of the volumes and DICOM series, or one volume.
        masks: Folder of the masks, or one mask; it may lie in that of the images, or be the same.
        dicom: The DICOM below `images`; None where there is none.
        table: CSV of the pairs; None = by name.
        any_name: Keep masks with names of anatomy; so are those of a table, and one that is named alone.

    Raises:
        InputError: There are no masks, or the table is none of pairs.
    """
    walk = Walk()
    of_images, of_masks = _list_files(images, masks, walk), _list_files(masks, images, walk)
    if _is_same(images, masks) and table is None:
        chosen = tell_apart([relative for _, relative in of_images])
        of_images = [file for file in of_images if file[1] in chosen]
        of_masks = [file for file in of_masks if file[1] not in chosen]
    held = set() if dicom is None else set(dicom.series_uids())  # a series that is DICOM, too, is taken from it
    volumes = {uid: file for uid, file in _name_volumes(of_images, images).items() if uid not in held}
    names = [name_image(uid, relative, str(path)) for uid, (path, relative) in volumes.items()]
    if dicom is not None:
        names += _name_dicom(dicom, images)
    pairs = pair_by_name(of_masks, names) if table is None else _pair_by_table(table, of_masks, names, volumes)
    keeps_all = any_name or table is not None or masks.is_file()
    anatomy = [] if keeps_all else [pair.mask for pair in pairs.found if names_anatomy(pair.part)]
    kept = sorted(
        (pair for pair in pairs.found if pair.mask not in set(anatomy)), key=lambda it: (it.series_uid, it.mask)
    )
    files = {uid: path for uid, (path, _) in volumes.items()}
    return MaskFiles(kept, files, pairs.rejected, len(names), anatomy, walk.rejected)


def keep_first(files: MaskFiles, limit: int | None) -> MaskFiles:
    """Keep the masks of the first series only; None = of all."""
    if limit is None:
        return files
    first = set(sorted({pair.series_uid for pair in files.pairs})[:limit])
    return replace(files, pairs=[pair for pair in files.pairs if pair.series_uid in first])


def _list_files(root: Path, other: Path, walk: Walk) -> _Files:
    """List the volumes below a folder, without those below the other one where that lies in it."""
    if root.is_file():
        return [(root, PurePath(root.name))]
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of volumes")
    files = find_files(root, *VOLUME_SUFFIXES, walk=walk)
    if not _is_same(root, other) and _is_below(other, root):
        files = [file for file in files if not _is_below(file, other)]
    return [(file, PurePath(file.relative_to(root))) for file in files]


def _is_same(one: Path, other: Path) -> bool:
    return os.path.normpath(one.absolute()) == os.path.normpath(other.absolute())


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(folder.absolute()))


def _name_volumes(files: _Files, root: Path) -> dict[str, tuple[Path, PurePath]]:
    """Name the series of volumes: by their names without ending, or by their paths where two share one."""
    relative = dict(files)
    finder = VolumeFinder(root if root.is_dir() else root.parent, list(relative))
    return {uid: (path, relative[path]) for path, uid in finder.name_series(list(relative)).items()}


def _name_dicom(dicom: Catalogue, root: Path) -> list[ImageName]:
    """Name the DICOM series below a folder by their UIDs and the folders that they lie in."""
    first = dicom.slices.group_by(schema.SERIES_UID, maintain_order=True).agg(pl.col(PATH).first())
    named = []
    for series_uid, path in first.rows():
        folder = Path(path).parent
        below = folder.relative_to(root.absolute()).parts if folder.is_relative_to(root.absolute()) else ()
        named.append(name_series(series_uid, below, f"series {series_uid} in {folder}"))
    return named


def _pair_by_table(
    table: Path, of_masks: _Files, names: Sequence[ImageName], volumes: Mapping[str, tuple[Path, PurePath]]
) -> Pairs:
    by_path = {_without_suffix(relative): uid for uid, (_, relative) in volumes.items()}
    by_path |= {_without_suffix(path.absolute()): uid for uid, (path, _) in volumes.items()}
    mask_paths = {_without_suffix(relative): path for path, relative in of_masks}
    mask_paths |= {_without_suffix(path.absolute()): path for path, _ in of_masks}

    def find_image(cell: str) -> str | None:
        wanted = PurePath(cell.replace("\\", "/"))
        if (found := by_path.get(_without_suffix(wanted))) is not None:
            return found
        folded = strip_volume_suffix(wanted.name).casefold()
        hits = [one.series_uid for one in names if cell and folded in one.names]
        return hits[0] if len(hits) == 1 else None

    def find_mask(cell: str) -> Path | None:
        return mask_paths.get(_without_suffix(PurePath(cell.replace("\\", "/"))))

    return read_pairs(table, find_image, find_mask)


def _without_suffix(path: PurePath) -> str:
    return (path.parent / strip_volume_suffix(path.name)).as_posix()
