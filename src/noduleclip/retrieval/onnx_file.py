"""A tower's ONNX file in ONNX Runtime, which is told to keep to itself what it runs."""

import os
from pathlib import Path

from noduleclip.errors import ArtefactError

# Its official builds send names of models and an id of the machine to their maker, from 1.29 on by default on every
# system, unless this is set before the import (microsoft/onnxruntime#27379); on Windows a call turns it off.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

onnxruntime.disable_telemetry_events()


def open_tower(path: Path, what: str, threads: int) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
    """Open a tower on the CPU.

    Args:
        path: The file.
        what: What it should be, for messages.
        threads: Threads of one forward pass.

    Returns:
        The session, and the texts that the file carries.

    Raises:
        ArtefactError: The file is missing or is no ONNX model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; noduleclip embed writes it")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session, session.get_modelmeta().custom_metadata_map
    except Exception as error:  # the library raises its own unrelated types
        raise ArtefactError(f"{path}: not a readable {what} ({type(error).__name__})") from error
