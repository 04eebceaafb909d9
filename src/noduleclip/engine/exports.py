"""Export of a model's encoders for the CPU: ONNX files of the text encoder and of the image encoder in each precision.

The int8 image encoder computes its convolutions but the first in 8 bits, with scales that are calibrated on phantoms
(static quantisation, weights per output channel).
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import FLOAT32, INT8
from noduleclip.io.artefacts import replacing
from noduleclip.models.clip import ClipModel
from noduleclip.models.onnx_export import export_image_encoder, export_text_encoder
from noduleclip.phantom.crops import densify, draw_crops
from noduleclip.retrieval.image_query import IMAGE_FILES
from noduleclip.retrieval.text_query import SentenceEncoder

_CALIBRATION_CROPS, _CROPS_AT_ONCE = 192, 16


def export_encoders(model: ClipModel, folder: Path) -> None:
    """Write all encoders of a model into a folder.

    Args:
        model: The encoders, on the CPU.
        folder: The folder; made where it is missing.

    Raises:
        Exception: Of any class: the exporter lacks some layers of timm.
    """
    export_text(model, folder)
    image, int8 = (folder / IMAGE_FILES[precision] for precision in (FLOAT32, INT8))
    with replacing(image) as temporary, replacing(int8) as quantised:
        export_image_encoder(model, temporary)
        crops_hu = draw_crops(_CALIBRATION_CROPS, model.config.crop)
        crops_hu[::2] = densify(crops_hu[::2])
        quantise(temporary, quantised, crops_hu)


def export_text(model: ClipModel, folder: Path) -> Path:
    """Write the text encoder of a model into a folder, and return its file."""
    path = folder / schema.TEXT_TOWER
    with replacing(path) as temporary:
        export_text_encoder(model, temporary)
        SentenceEncoder(temporary)  # fails now rather than at the first query
    return path


def quantise(source: Path, path: Path, crops_hu: NDArray[np.int16]) -> None:
    """Write an image encoder with its convolutions in int8, but the first one, whose input spans all HU.

    Args:
        source: The image encoder in float32.
        path: The file to write.
        crops_hu: (N, Y, X) HU, whose activations decide the ranges of the 8 bits.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    import noduleclip.retrieval.onnx_session  # noqa: F401  # before ONNX Runtime, whose telemetry it switches off

    class Crops(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            starts = range(0, len(crops_hu), _CROPS_AT_ONCE)
            self._batches = iter([crops_hu[start : start + _CROPS_AT_ONCE] for start in starts])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"crops": batch.astype(np.float32)}

    convolutions = [node.name for node in onnx.load(source).graph.node if node.op_type == "Conv"]
    with _silent_logging():
        quantize_static(
            source,
            path,
            Crops(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=convolutions[:1],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    model = onnx.load(path)
    model.graph.ClearField("value_info")
    texts = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**texts, "precision": INT8})
    onnx.save(model, path)


@contextlib.contextmanager
def _silent_logging() -> Iterator[None]:
    """Discard what is logged at the root, which without a handler would be printed, and keep one there for good."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
