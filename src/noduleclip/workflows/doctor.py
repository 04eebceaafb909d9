"""Diagnosis of an installation: packages, device, decoders, models, cache (`doctor`).

A broken part is a finding, not an exception.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noduleclip import __version__
from noduleclip.io.bundled_model import BUNDLED, find_checkpoint
from noduleclip.io.crop_cache import default_cache_folder
from noduleclip.io.disk import describe_bytes
from noduleclip.machine import CPU_WITHOUT_TORCH, TRAINING_LIBRARIES, count_cores, find_missing_library

_COMPLETIONS = {
    "bash": ".bash_completions/noduleclip.sh",
    "zsh": ".zfunc/_noduleclip",
    "fish": ".config/fish/completions/noduleclip.fish",
}


@dataclass(frozen=True)
class Finding:
    """State of one part of the installation.

    Attributes:
        what: Name of the part.
        found: Its state.
        remedy: What to do about a broken part; empty for a sound one.
    """

    what: str
    found: str
    remedy: str = ""


def diagnose(cache_dir: Path | None = None) -> list[Finding]:
    """Examine the installation.

    Args:
        cache_dir: Folder of the crop cache; None = the user's.
    """
    return [
        Finding("noduleclip", f"{__version__}, Python {platform.python_version()}, {platform.system()}"),
        *_find_packages(),
        _find_device(),
        *_find_decoders(),
        *_find_models(),
        _find_cache(cache_dir or default_cache_folder()),
        _find_completion(),
        Finding("terminal", f"{sys.stdout.encoding}, NO_COLOR {'set' if os.environ.get('NO_COLOR') else 'not set'}"),
    ]


def _list_dependencies() -> list[str]:
    """Return the names of the required packages, without those that only some Python versions need."""
    wanted = importlib.metadata.requires("noduleclip") or []
    return [name.group() for line in wanted if ";" not in line and (name := re.match(r"[\w.-]+", line))]


def _find_packages() -> Iterator[Finding]:
    for name in _list_dependencies():
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            if name in TRAINING_LIBRARIES:
                yield Finding(name, "not installed: train and the export of own checkpoints need it")
            else:
                yield Finding(name, "not installed", f"pip install {name}")


def _find_device() -> Finding:
    if find_missing_library() is not None:
        return Finding("device", f"{CPU_WITHOUT_TORCH}; {count_cores()} core(s)")
    try:
        from noduleclip.engine.runtime import choose_device

        return Finding("device", f"{choose_device('auto').why}; {count_cores()} core(s)")
    except Exception as error:  # a torch that does not fit its libraries raises errors of any class
        return Finding("device", f"torch cannot be loaded ({type(error).__name__})", "install torch again")


def _find_decoders() -> Iterator[Finding]:
    from noduleclip.io.dicom.pixels import list_decoders

    ours = {f"pip install {name}" for name in _list_dependencies()}
    for syntax, (decoder, remedy) in list_decoders().items():
        is_broken = not decoder and remedy in ours
        yield Finding(syntax, decoder or f"no decoder ({remedy})", remedy if is_broken else "")


def _find_models() -> Iterator[Finding]:
    for name in BUNDLED:
        path = find_checkpoint(Path(name))
        is_sound = zipfile.is_zipfile(path)
        found = describe_bytes(path.stat().st_size) if is_sound else "missing or broken"
        yield Finding(f"model {name}", found, "" if is_sound else "install noduleclip again")


def _find_cache(folder: Path) -> Finding:
    files = bytes_held = 0
    for parent, _, names in os.walk(folder):
        files += len(names)
        bytes_held += sum(_size(Path(parent) / name) for name in names)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK):
        return Finding("crop cache", f"{folder}: cannot be written to", "name another folder with --cache-dir")
    free = describe_bytes(shutil.disk_usage(there).free)
    return Finding("crop cache", f"{folder}: {files:,} files, {describe_bytes(bytes_held)}; {free} free")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has replaced it
        return 0


def _find_completion() -> Finding:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home raises where there is none
    shells = [shell for shell, script in _COMPLETIONS.items() if (home / script).exists()]
    return Finding("completion", ", ".join(shells) or "not installed: noduleclip --install-completion")
