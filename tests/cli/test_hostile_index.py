"""An index that was made to look right, bound by its manifest, and is wrong inside: one line and exit code 4."""

import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import numpy_helper

from conftest import Command
from noduleclip import schema
from noduleclip.io.index.open import open_index
from stores import write_manifest

pytestmark = pytest.mark.slow

Change = Callable[[Path], object]
MOST_MB = 600


def rows(number: int, factor: float) -> Change:
    """Multiply a row of the embeddings."""

    def change(folder: Path) -> None:
        embeddings = np.load(folder / schema.EMBEDDINGS)
        embeddings[number] *= factor
        np.save(folder / schema.EMBEDDINGS, embeddings)

    return change


def encoder(edit: Callable[[Any], object]) -> Change:
    """Change the text encoder's model."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / schema.TEXT_TOWER)
        edit(model)
        (folder / schema.TEXT_TOWER).write_bytes(model.SerializeToString())

    return change


def text(**texts: str) -> Change:
    """Change what the text encoder carries."""

    def edit(model: Any) -> None:
        for entry in model.metadata_props:
            entry.value = texts.get(entry.key, entry.value)

    return encoder(edit)


def weights_of_nan(model: Any) -> None:
    bias = next(one for one in model.graph.initializer if one.name == "project.bias")
    bias.raw_data = np.full(bias.dims[0], np.nan, "<f4").tobytes()


def other_inputs(model: Any) -> None:
    del model.graph.input[1:]
    model.graph.input[0].name = "crops"


def narrower(model: Any) -> None:
    """Leave out the last numbers of the vectors."""
    for tensor in model.graph.initializer:
        if tensor.name.startswith("project."):
            kept = numpy_helper.to_array(tensor)[:-1].copy()
            tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))


def meta(edit: Callable[[pl.DataFrame], pl.DataFrame], **options: Any) -> Change:
    """Change the rows' metadata."""

    def change(folder: Path) -> None:
        edit(pl.read_parquet(folder / schema.META)).write_parquet(folder / schema.META, **options)

    return change


def repeat_text(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the same text of 40 MB, which the file holds once."""
    return frame.with_columns(pl.lit("x" * 40_000_000).alias(schema.PATIENT_ID))


def number_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with a text of 8 MB each, which the file holds compressed."""
    texts = [str(row) + "x" * 8_000_000 for row in range(frame.height)]
    return frame.with_columns(pl.Series(schema.PATIENT_ID, texts))


HOSTILE: dict[str, tuple[Change, str]] = {
    "a row of NaN": (rows(5, float("nan")), "row 5 of the embeddings is (not finite|no unit vector)"),
    "a row without end": (rows(5, float("inf")), "row 5 of the embeddings is (not finite|no unit vector)"),
    "a long row": (rows(5, 1000), r"row 5 of the embeddings is no unit vector, its length is 1000; embed again"),
    "a long row, turned": (rows(5, -1000), r"row 5 of the embeddings is no unit vector, its length is 1000"),
    "an encoder of noise": (lambda folder: (folder / schema.TEXT_TOWER).write_bytes(b"?" * 999), "not a readable text"),
    "an encoder of other inputs": (encoder(other_inputs), r"no text encoder of this tool \(it takes crops\)"),
    "an encoder of another width": (encoder(narrower), "gives vectors of 15 numbers"),
    "an encoder of NaN": (encoder(weights_of_nan), "gives vectors that are not finite"),
    "an encoder without words": (text(vocabulary="[]"), "its vocabulary is not readable"),
    "an encoder of deep words": (text(vocabulary="[" * 100_000), "not a text encoder of this tool"),
    "an encoder of no words": (text(vocabulary='{"words": 3}'), "its vocabulary is not readable"),
    "an encoder of no scale": (text(scale="nan"), r"not a text encoder of this tool .*scale nan"),
    "a long text in every row": (
        meta(repeat_text),  # some versions of polars write it once, others in every row
        "column patient_id has a text of 40,000,000 bytes, allowed are|bytes without compression, allowed are 67",
    ),
    "a long text in a kept column": (
        meta(lambda frame: frame.with_columns(pl.lit("x" * 65_537).alias("note"))),
        "column note has a text of 65,537 bytes, allowed are 65,536",
    ),
    "a column row": (
        meta(lambda frame: frame.with_columns(pl.lit(1).alias("row"))),
        r"meta\.parquet: has a column row, which this tool adds; embed again",
    ),
    "a column of lists": (
        meta(lambda frame: frame.with_columns(pl.lit([1, 2]).alias("note"))),
        r"meta\.parquet: column note is List.*, expected text or numbers",
    ),
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
    commands: list[tuple[Any, ...]] = [("query", "--query", "> 6 mm")]
    if name.startswith("a long text"):
        commands.append(("query", "--query", "> 6 mm", "--unique", "nodule"))
    commands += [("fuse", "--query", "> 6 mm"), ("evaluate", "--resamples", 10)]
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


def test_a_table_that_expands_is_refused_before_it_is_read(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    shutil.copytree(index, folder)
    said = open_index(folder).manifest
    meta(number_texts, compression="zstd")(folder)
    write_manifest(
        folder, model_id=said.model_id, checkpoint_sha256=said.checkpoint_sha256, model=said.model,
        rows=said.rows, scale=said.scale, bias=said.bias,
    )  # fmt: skip
    assert (folder / schema.META).stat().st_size < 67_108_864
    done = noduleclip("query", "--emb-dir", folder, "--query", "> 6 mm", "--unique", "nodule")
    assert done.code == 4, done
    size = r"[\d,]+ bytes without compression, allowed are 67,108,864"
    assert re.fullmatch(rf"error: .*meta\.parquet: has {size} for {said.rows} rows\n", done.err), done.err


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
