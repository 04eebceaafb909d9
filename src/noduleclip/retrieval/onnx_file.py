"""A tower's ONNX file in ONNX Runtime, which is told to keep to itself what it runs."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError

# Its official builds send names of models and an id of the machine to their maker, from 1.29 on by default on every
# system, unless this is set before the import (microsoft/onnxruntime#27379); on Windows a call turns it off.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

onnxruntime.disable_telemetry_events()


def open_tower(
    path: Path, what: str, threads: int, inputs: tuple[str, ...]
) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
    """Open a tower on the CPU.

    Args:
        path: The file.
        what: What it should be, for messages.
        threads: Threads of one forward pass.
        inputs: Names of its inputs.

    Returns:
        The session, and the texts that the file carries.

    Raises:
        ArtefactError: The file is missing, is no ONNX model, or has other inputs.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; noduleclip embed writes it")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        texts = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # the library raises its own unrelated types
        raise ArtefactError(f"{path}: not a readable {what} ({type(error).__name__})") from error
    found = sorted(node.name for node in session.get_inputs())
    if found != sorted(inputs) or len(session.get_outputs()) != 1:
        raise ArtefactError(f"{path}: no {what} of this tool (it takes {', '.join(found)[:80] or 'nothing'})")
    return session, texts


def run_tower(
    session: onnxruntime.InferenceSession, feed: dict[str, NDArray[np.generic]], rows: int, path: Path
) -> NDArray[np.float32]:
    """Run a tower on `rows` inputs.

    Returns:
        (rows, D) float32.

    Raises:
        ArtefactError: It fails, or gives something else.
    """
    try:
        (vectors,) = session.run(None, feed)
    except Exception as error:  # the library raises its own unrelated types
        raise ArtefactError(f"{path}: does not run ({type(error).__name__}); embed again") from error
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != rows:
        raise ArtefactError(f"{path}: gives no vectors; embed again")
    if not np.isfinite(vectors).all():
        raise ArtefactError(f"{path}: gives vectors that are not finite; embed again")
    return vectors
