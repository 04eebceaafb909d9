"""Export of the encoders to ONNX files with vocabulary, configuration and calibration, to run them without torch."""

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from noduleclip.language.vocabulary import stack_tokens
from noduleclip.models.checkpoint import hash_model
from noduleclip.models.clip import ClipModel
from noduleclip.setting import to_mapping

_MAX_ROWS = 1 << 16


def export_text_encoder(model: ClipModel, path: Path) -> None:
    """Write the text encoder.

    Inputs `left`, `right` (P, T) int64 and `share` (P, T) float32 as `vocabulary.Tokens` has them; output (P, D).

    Args:
        model: The encoders, on the CPU.
        path: The file to write; its folder exists.
    """
    left, right, share = stack_tokens([model.vocabulary.encode("> 6 mm"), model.vocabulary.encode("6-10 mm")])
    example = {
        "left": torch.tensor(left),
        "right": torch.tensor(right),
        "share": torch.tensor(share, dtype=torch.float32),
    }
    vocabulary = json.dumps(model.vocabulary.to_mapping())
    _export(model, model.text, example, "sentences", path, {"vocabulary": vocabulary})


def export_image_encoder(model: ClipModel, path: Path) -> None:
    """Write the image encoder: input `crops` (B, Y, X) float32 HU, in one view; output (B, D).

    Args:
        model: The encoders, on the CPU.
        path: The file to write; its folder exists.
    """
    side = model.config.crop.size_px
    example = {"crops": torch.zeros(2, side, side)}
    _export(model, model.image, example, "images", path, {"config": json.dumps(to_mapping(model.config))})


def _export(
    model: ClipModel, encoder: nn.Module, example: dict[str, Tensor], output: str, path: Path, metadata: dict[str, str]
) -> None:
    rows = torch.export.Dim("rows", min=1, max=_MAX_ROWS)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # about the exporter's own dependencies
        program = torch.onnx.export(
            encoder.eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=[output],
            dynamic_shapes=tuple({0: rows} for _ in example),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model_proto = program.model_proto
    _strip_traces(model_proto.graph)
    properties = {
        "model_id": hash_model(model),
        "scale": repr(float(model.log_scale.detach().exp())),
        "bias": repr(float(model.bias.detach())),
        **metadata,
    }
    onnx.helper.set_model_props(model_proto, properties)
    onnx.save(model_proto, path)


def _strip_traces(graph: onnx.GraphProto) -> None:
    """Remove the exporter's stack traces, which contain paths of this machine and its user's name."""
    for holder in (*graph.node, *graph.initializer, *graph.input, *graph.output, graph):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    graph.ClearField("value_info")
