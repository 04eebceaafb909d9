"""The text tower as an ONNX file that carries its vocabulary and calibration, so that a query needs no torch."""

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path

import onnx
import torch

from noduleclip.models.checkpoint import hash_model
from noduleclip.models.two_towers import TwoTowers
from noduleclip.vocabulary import stack_tokens


def export_text_tower(model: TwoTowers, path: Path) -> None:
    """Write the text tower.

    Inputs `left`, `right` (P, T) int64 and `share` (P, T) float32 as `vocabulary.Tokens` has them; output (P, D).

    Args:
        model: The towers, on any device.
        path: The file to write; its folder exists.
    """
    tower = model.text.cpu().eval()
    left, right, share = stack_tokens([model.vocabulary.encode("> 6 mm"), model.vocabulary.encode("6-10 mm")])
    example = (torch.tensor(left), torch.tensor(right), torch.tensor(share, dtype=torch.float32))
    rows = torch.export.Dim("sentences", min=1, max=1 << 16)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter warns of its own dependencies
        program = torch.onnx.export(
            tower,
            example,
            input_names=["left", "right", "share"],
            output_names=["sentences"],
            dynamic_shapes=({0: rows}, {0: rows}, {0: rows}),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    metadata = {
        "model_id": hash_model(model),
        "vocabulary": json.dumps(model.vocabulary.to_mapping()),
        "scale": repr(float(model.log_scale.detach().exp())),
        "bias": repr(float(model.bias.detach())),
    }
    onnx.helper.set_model_props(graph, metadata)
    onnx.save(graph, path)
