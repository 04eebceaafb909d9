"""The image encoder's ONNX file in ONNX Runtime, with its logging switched off."""

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError, LibraryError, shows_incompatibility
from noduleclip.retrieval.onnx_file import read_onnx

# Its official builds send names of models and an id of the machine to their maker, from 1.29 on by default on every
# system, unless this is set before the import (microsoft/onnxruntime#27379); on Windows a call turns it off.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

onnxruntime.disable_telemetry_events()

RUNTIME_VERSION: str = onnxruntime.__version__
_LACKS = re.compile(r"Unsupported model IR version|official support|Could not find an implementation", re.IGNORECASE)
_NO_MEMORY = re.compile(r"bad.?alloc|failed to allocate memory|out of memory", re.IGNORECASE)
_UPGRADE = "pip install --upgrade onnxruntime"
_MOST_LETTERS = 200


def open_session(
    path: Path, what: str, threads: int, inputs: tuple[str, ...]
) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
    """Open an encoder on the CPU.

    Args:
        path: The file.
        what: What it should be, for messages.
        threads: Threads of one forward pass.
        inputs: Names of its inputs.

    Returns:
        The session, and the texts that the file carries.

    Raises:
        ArtefactError: The file is missing, is no ONNX model, has other inputs, or holds what `read_onnx` refuses.
        LibraryError: It needs a newer ONNX Runtime.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    file = read_onnx(path, what, inputs)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises its own unrelated types
        if shows_incompatibility(error):
            raise
        if _LACKS.search(str(error)):
            version = f"onnxruntime {onnxruntime.__version__}"
            raise LibraryError(f"{path}: {version} is too old for it ({_shorten(error)}); {_UPGRADE}") from error
        raise ArtefactError(f"{path}: not a readable {what} ({_shorten(error)})") from error
    return session, file.texts


def run_encoder(
    session: onnxruntime.InferenceSession, feed: dict[str, NDArray[np.generic]], rows: int, path: Path
) -> NDArray[np.float32]:
    """Run an encoder on `rows` inputs.

    Returns:
        (rows, D) float32.

    Raises:
        ArtefactError: It fails, or gives something else.
        MemoryError: There is not enough memory for so many rows.
    """
    try:
        (vectors,) = session.run(None, feed)
    except Exception as error:  # the library raises its own unrelated types
        if shows_incompatibility(error):
            raise
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(_shorten(error)) from error
        raise ArtefactError(f"{path}: does not run ({_shorten(error)}); embed again") from error
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != rows:
        raise ArtefactError(f"{path}: gives no vectors; embed again")
    if not np.isfinite(vectors).all():
        raise ArtefactError(f"{path}: gives vectors that are not finite; embed again")
    return vectors


def _shorten(error: Exception) -> str:
    """Return the type of an error and the end of its first line; before it the library names its own source."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][-_MOST_LETTERS:]}"
