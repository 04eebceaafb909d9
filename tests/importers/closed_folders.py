"""A folder that may not be opened, also for the tests of a user who may open any."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def close_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let `folder` be one whose permissions keep this process out."""
    scan = os.scandir

    def scan_others(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_others)
