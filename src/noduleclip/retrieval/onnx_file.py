"""A tower's ONNX file in ONNX Runtime."""

from pathlib import Path

import onnxruntime

from noduleclip.errors import ArtefactError


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
