"""Embedding of a crop at a place outside an index, by the model that made the index."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError, UsageError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.bundled_model import BUNDLED, find_checkpoint
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import choose_slice_folders
from noduleclip.io.roi_table import find_file
from noduleclip.workflows.reporter import Reporter


@dataclass(frozen=True)
class PlacedCrop:
    """An embedded crop.

    Attributes:
        file: The slice that it was cut from.
        sop_uid: SOP Instance UID of the slice; empty where it has none.
        vector: (D,) its unit embedding.
    """

    file: Path
    sop_uid: str
    vector: NDArray[np.float32]


def embed_place(
    index: Index,
    path: str,
    place_xy_px: tuple[float, float],
    text: str,
    *,
    model: Path | None,
    cache_dir: Path | None,
    reporter: Reporter,
) -> PlacedCrop:
    """Cut a crop at a place, and embed it as the index's rows were.

    Args:
        index: The index.
        path: The slice, as the user wrote it.
        place_xy_px: Its middle in pixels of the slice.
        text: The whole argument, for messages.
        model: The checkpoint that made the embeddings, where the user named it.
        cache_dir: Folder of the exported model; None = the user's cache.
        reporter: Receives a message before the model is prepared.

    Raises:
        UsageError: There is no such file.
        SliceError: The slice cannot be read.
        ArtefactError: The checkpoint is not known, or made other embeddings.
    """
    from noduleclip.io.dicom.slice import read_sop_uid
    from noduleclip.io.slice_crops import CutSettings, cut_crop

    file = _find_on_disk(path, choose_slice_folders(index, ()).folders)
    if file is None:
        raise UsageError(f"--like {text}: no row of {index.location} lies there, and there is no such file")
    checkpoint = _find_maker(index, model, text)
    crop_hu = cut_crop(file, place_xy_px, CutSettings.for_crop(index.manifest.model.crop))
    return PlacedCrop(file, read_sop_uid(file), _embed(index, crop_hu, checkpoint, cache_dir, reporter))


def _find_on_disk(path: str, roots: Sequence[Path]) -> Path | None:
    for text in dict.fromkeys((path, path.replace("\\", "/"))):
        file = Path(find_file(text, [Path.cwd(), *roots]))
        try:
            if file.is_file():
                return file
        except (OSError, ValueError):  # a name too long, a NUL
            continue
    return None


def _find_maker(index: Index, model: Path | None, text: str) -> Path:
    """Find the checkpoint that made the embeddings: the one given, which was checked, or one of the package's."""
    if model is not None:
        return find_checkpoint(model)
    for name in BUNDLED:
        checkpoint = find_checkpoint(Path(name))
        if hash_file(checkpoint) == index.manifest.checkpoint_sha256:
            return checkpoint
    raise ArtefactError(
        f"--like {text}: no row of {index.location} lies there, and to embed it takes the checkpoint that made the "
        "embeddings; give it with --model"
    )


def _embed(
    index: Index, crop_hu: NDArray[np.int16], checkpoint: Path, cache_dir: Path | None, reporter: Reporter
) -> NDArray[np.float32]:
    from noduleclip.engine.encoders import open_encoders
    from noduleclip.io.crop_cache import default_cache_folder

    preparing = f"{checkpoint}: preparing the model, which takes some seconds the first time and needs torch"
    image = open_encoders(
        checkpoint, cache_dir or default_cache_folder(), "cpu", lambda: reporter.note(preparing),
        views=index.manifest.views, precision=index.manifest.precision,
    ).image  # fmt: skip
    if image.model_id != index.manifest.model_id:
        raise ArtefactError(f"{index.location}: the embeddings are not of the model in {checkpoint}; embed again")
    return np.asarray(image.encode(crop_hu[None])[0])
