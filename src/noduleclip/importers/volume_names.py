"""Names of the volumes below a folder: their series, and what tables call them."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from noduleclip.io.volumes.formats import strip_volume_suffix

_CHANNEL: Final = "_0000"


class VolumeFinder:
    """Finds volumes below a folder by the names that a table has for them.

    A table may name a volume by its file or by as much of its path as it likes, with or without the ending, and with or
    without the channel `_0000` of nnU-Net.
    """

    def __init__(self, root: Path, paths: Sequence[Path]) -> None:
        """List the volumes by their names.

        Args:
            root: The folder.
            paths: Volumes below it.
        """
        self._parts = {path: path.relative_to(root).parts for path in paths}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            self._by_name[_fold(path.name)].append(path)

    def find(self, name: str) -> list[Path]:
        """Return the volumes that a name may mean."""
        wanted = _split(name)
        if not wanted:
            return []
        return [path for path in self._by_name.get(_fold(wanted[-1]), ()) if _agree(wanted, self._parts[path])]

    def name_series(self, paths: Collection[Path]) -> dict[Path, str]:
        """Return the names of the series that volumes are.

        It is the file's name without its ending; where others have the same, its path below the folder; where even
        that is another's, with the ending.
        """
        stems = Counter(strip_volume_suffix(path.name) for path in paths)
        longer = {path: "/".join(self._parts[path]) for path in paths}
        shorter = Counter(map(strip_volume_suffix, longer.values()))
        return {
            path: stem
            if stems[stem := strip_volume_suffix(path.name)] == 1
            else longer[path]
            if shorter[strip_volume_suffix(longer[path])] > 1
            else strip_volume_suffix(longer[path])
            for path in paths
        }

    def list_namesakes(self, paths: Collection[Path]) -> list[Path]:
        """Return all volumes whose file has the name of one of these, themselves included."""
        folded = dict.fromkeys(_fold(path.name) for path in paths)
        return [path for name in folded for path in self._by_name[name]]


def narrow(name: str, paths: Sequence[Path]) -> list[Path]:
    """Return those volumes whose files have a name itself, else those with another ending, else another channel."""
    ranks = [_rank(_split(name)[-1], path.name) for path in paths]
    return [path for path, rank in zip(paths, ranks, strict=True) if rank == min(ranks)]


def _split(name: str) -> tuple[str, ...]:
    return PurePosixPath(name.replace("\\", "/")).parts


def _fold(file_name: str) -> str:
    return strip_volume_suffix(file_name).removesuffix(_CHANNEL)


def _agree(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Return whether of two paths one ends in the folders of the other."""
    shared = min(len(wanted), len(found)) - 1
    return shared == 0 or tuple(wanted[-1 - shared : -1]) == tuple(found[-1 - shared : -1])


def _rank(wanted: str, found: str) -> int:
    """Return how far the name of a file is from a name: the ending, then the channel may be left out."""
    if wanted == found:
        return 0
    return 1 if strip_volume_suffix(wanted) == strip_volume_suffix(found) else 2
