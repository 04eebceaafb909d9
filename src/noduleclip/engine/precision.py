"""Choice between the float32 and the int8 image encoder, made once for a model and a machine.

int8 is faster on a CPU with instructions for it (VNNI), and may be slower, or saturate, on one without.
"""

import contextlib
import hashlib
import statistics
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import FLOAT32, INT8, PRECISIONS
from noduleclip.errors import ArtefactError, OutputError
from noduleclip.io.artefacts import read_json, write_json
from noduleclip.machine import describe_cpu
from noduleclip.phantom.crops import draw_crops
from noduleclip.retrieval.image_query import OnnxImageEncoder
from noduleclip.retrieval.onnx_session import RUNTIME_VERSION

_CROPS, _ROUNDS = 32, 3
_LEAST_GAIN: Final = 1.1  # by which int8 must be faster
_LEAST_COSINE: Final = 0.999  # median cosine of the two embeddings of a crop


def recall_precision(folder: Path) -> str | None:
    """Return the precision that was chosen for the encoders of a folder on this machine; None before."""
    try:
        precision = read_json(_name_record(folder)).get("precision")
    except ArtefactError:
        return None
    return precision if precision in PRECISIONS else None


def choose_precision(encoders: dict[str, OnnxImageEncoder], folder: Path) -> str:
    """Time both encoders, and record the faster one if it computes the same embeddings.

    Args:
        encoders: The image encoder by precision.
        folder: Folder of the record.
    """
    crops = draw_crops(_CROPS, encoders[FLOAT32].config.crop)
    embeddings = {precision: encoder.encode(crops) for precision, encoder in encoders.items()}  # also a warm-up
    seconds = {precision: statistics.median(_time(encoder, crops)) for precision, encoder in encoders.items()}
    cosine = float(np.median((embeddings[FLOAT32] * embeddings[INT8]).sum(axis=1)))
    gain = seconds[FLOAT32] / seconds[INT8]
    precision = INT8 if gain >= _LEAST_GAIN and cosine >= _LEAST_COSINE else FLOAT32
    with contextlib.suppress(OutputError):  # measured again next time
        write_json(_name_record(folder), {"precision": precision, "gain": gain, "cosine": cosine})
    return precision


def _time(encoder: OnnxImageEncoder, crops: NDArray[np.int16]) -> list[float]:
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        encoder.encode(crops)
        seconds.append(time.perf_counter() - started)
    return seconds


def _name_record(folder: Path) -> Path:
    """Return the file of the choice; machines that share a cache have one each."""
    machine = hashlib.sha256(f"{describe_cpu()} {RUNTIME_VERSION}".encode()).hexdigest()
    return folder / f"precision-{machine[:16]}.json"
