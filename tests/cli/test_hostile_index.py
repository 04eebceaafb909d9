"""An index that was made to look right, bound by its manifest, and is wrong inside: one line and exit code 4."""

import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conftest import Command
from noduleclip import schema
from noduleclip.io.index.folder import open_index, write_manifest

Change = Callable[[Path], object]
MOST_MB = 600


def rows(number: int, factor: float) -> Change:
    """Multiply a row of the embeddings."""

    def change(folder: Path) -> None:
        embeddings = np.load(folder / schema.EMBEDDINGS)
        embeddings[number] *= factor
        np.save(folder / schema.EMBEDDINGS, embeddings)

    return change


def tower(edit: Callable[[Any], object]) -> Change:
    """Change the text tower's model."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / schema.TEXT_TOWER)
        edit(model)
        (folder / schema.TEXT_TOWER).write_bytes(model.SerializeToString())

    return change


def text(**texts: str) -> Change:
    """Change what the text tower carries."""

    def edit(model: Any) -> None:
        for entry in model.metadata_props:
            entry.value = texts.get(entry.key, entry.value)

    return tower(edit)


def claim_a_shape(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 10**11


def point_outside(location: str) -> Callable[[Any], object]:
    def edit(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return edit


def another_model(inputs: tuple[str, ...], width: int) -> Change:
    """Put a model of another kind in the tower's place; it gives zeros of a width."""

    def edit(model: Any) -> None:
        kept = list(model.metadata_props)
        kinds = {"left": TensorProto.INT64, "right": TensorProto.INT64, "share": TensorProto.FLOAT}
        zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, width], [float("nan")] * width)
        graph = helper.make_graph(
            [helper.make_node("Identity", ["zeros"], ["sentences"])],
            "graph",
            [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), ["rows", 32]) for n in inputs],
            [helper.make_tensor_value_info("sentences", TensorProto.FLOAT, ["rows", width])],
            [zeros],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        model.CopyFrom(made)
        model.metadata_props.extend(kept)

    return tower(edit)


HOSTILE: dict[str, tuple[Change, str]] = {
    "a row of NaN": (rows(5, float("nan")), "row 5 of the embeddings is (not finite|no unit vector)"),
    "a row without end": (rows(5, float("inf")), "row 5 of the embeddings is (not finite|no unit vector)"),
    "a long row": (rows(5, 1000), r"row 5 of the embeddings is no unit vector, its length is 1000; embed again"),
    "a long row, turned": (rows(5, -1000), r"row 5 of the embeddings is no unit vector, its length is 1000"),
    "a tower of noise": (lambda folder: (folder / schema.TEXT_TOWER).write_bytes(b"?" * 999), "not a readable text"),
    "a tower that claims": (tower(claim_a_shape), "not a readable text tower"),
    "a tower from elsewhere": (tower(point_outside("../../../../../etc/passwd")), "not a readable text tower"),
    "a tower from the root": (tower(point_outside("/etc/passwd")), "not a readable text tower"),
    "a tower of other inputs": (another_model(("crops",), 16), r"no text tower of this tool \(it takes crops\)"),
    "a tower of another width": (another_model(("left", "right", "share"), 7), "gives vectors of 7 numbers"),
    "a tower of NaN": (another_model(("left", "right", "share"), 16), "gives (no vectors|vectors that are not finite)"),
    "a tower without words": (text(vocabulary="[]"), "its vocabulary is not readable"),
    "a tower of deep words": (text(vocabulary="[" * 100_000), "not a text tower of this tool"),
    "a tower of no words": (text(vocabulary='{"words": 3}'), "its vocabulary is not readable"),
    "a tower of no scale": (text(scale="nan"), r"not a text tower of this tool .*scale nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_is_refused(noduleclip: Command, index: Path, tmp_path: Path, name: str) -> None:
    change, message = HOSTILE[name]
    folder = tmp_path / "index"
    shutil.copytree(index, folder)
    said = open_index(folder).manifest
    change(folder)
    write_manifest(
        folder, model_id=said.model_id, checkpoint_sha256=said.checkpoint_sha256, model=said.model,
        rows=said.rows, scale=said.scale, bias=said.bias,
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    commands = [("query", "--query", "> 6 mm"), ("fuse", "--query", "> 6 mm"), ("evaluate", "--resamples", 10)]
    for command, *options in commands:
        # Long rows are looked for among the hits: those of a query for 6 mm are others where the row is turned away.
        most = ("--topk", said.rows) if command != "evaluate" else ()
        done = noduleclip(command, "--emb-dir", folder, *options, *most)
        assert done.code == 4, (command, done)
        errors = done.err.splitlines()[-1]
        assert errors.startswith("error: ")
        assert "Traceback" not in done.err
        assert re.search(message, errors), errors
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3 < MOST_MB


def test_the_record_of_a_run_is_bounded(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    for name, content, message in (
        ("huge.json", '"' + "x" * (1 << 20) + '"', "is larger than the 1,048,576 bytes that settings may have"),
        ("deep.json", "[" * 100_000, r"is not valid .json"),
        ("deep.toml", "a = " + "[" * 100_000, r"is not valid .toml"),
        ("noise.toml", "\x00\x01", r"is not valid .toml"),
    ):
        (tmp_path / name).write_text(content)
        done = noduleclip("query", "--config", tmp_path / name, "--emb-dir", index, "--query", "> 6 mm")
        assert done.code == 2, done
        assert message in done.err
        assert len(done.err.splitlines()) == 1
