"""Names of series in the paths of images that lists and results give."""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import PurePosixPath

from noduleclip.io.volumes.formats import strip_volume_suffix

_UID = re.compile(r"[0-2](\.\d+){5,}")
_DICOM_SUFFIX = ".dcm"
_CHANNEL = "_0000"


def name_series(image: str) -> str:
    """Return the series of an image: the last Series Instance UID in its path, else its name without endings.

    nnU-Net and nnDetection write the dots of a UID as underscores, and a channel behind it.
    """
    return _find_uid(image) or _strip(_split(image)[-1] if _split(image) else "")


def name_images(images: Collection[str]) -> dict[str, str]:
    """Name the series of images, by `name_series`; images of one name by as many folders as tell them apart.

    Args:
        images: Their paths.

    Returns:
        Series by path.
    """
    names = {image: name_series(image) for image in images}
    longest = max((len(_split(image)) for image in images), default=0)
    for depth in range(2, longest + 1):
        counts = Counter(names.values())
        for image, name in names.items():
            if counts[name] > 1 and not _find_uid(image):
                names[image] = _strip("/".join(_split(image)[-depth:]))
    return names


def _find_uid(image: str) -> str:
    for part in reversed(_split(image)):
        stem = _strip(part)
        for text in (stem, stem.removesuffix(_CHANNEL).replace("_", ".")):
            if _UID.fullmatch(text):
                return text
    return ""


def _split(image: str) -> tuple[str, ...]:
    return PurePosixPath(image.replace("\\", "/")).parts


def _strip(name: str) -> str:
    is_dicom = name.casefold().endswith(_DICOM_SUFFIX)
    return name[: -len(_DICOM_SUFFIX)] if is_dicom else strip_volume_suffix(name)
