"""What a table says that its diameters are goes with the model and the index, and is compared with them."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from conftest import Collection, Command, train_arguments
from noduleclip import schema
from noduleclip.io.bundled_model import find_checkpoint, recall_diameter_kind
from noduleclip.io.index.open import open_index


def write_table(collection: Collection, folder: Path, kinds: list[str | None]) -> Path:
    """The phantoms' table with the kinds in turn."""
    rows = pl.read_csv(collection.roi_csv, infer_schema=False)
    column = pl.Series(schema.DIAMETER_KIND, (kinds * rows.height)[: rows.height], pl.String)
    # Paths are looked for from the folder of the table.
    path = collection.roi_csv.with_name(f"{folder.name}.csv")
    rows.with_columns(column).write_csv(path)
    return path


@pytest.mark.parametrize(("other", "said"), [("3d", "'3d'"), (None, "is empty")])
def test_a_table_of_two_kinds_is_refused(
    collection: Collection, noduleclip: Command, tmp_path: Path, other: str | None, said: str
) -> None:
    table = write_table(collection, tmp_path, ["in-slice", other])
    done = noduleclip("split", "--roi-csv", table, "--out", tmp_path / "splits")
    assert done.code == 3
    assert f"row 2, column diameter_kind: {said}, but 'in-slice' in row 1" in done.err
    assert "must be of one kind" in done.err


def test_embed_keeps_the_kind_and_compares_it_with_the_model(
    collection: Collection, noduleclip: Command, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    assert exported.exists()
    table = write_table(collection, tmp_path, ["axes-mean"])
    record = json.loads((checkpoint.parent / schema.RUN_RECORD).read_text())
    assert record["data"][schema.DIAMETER_KIND] is None, "the phantoms' table does not say"
    model = tmp_path / schema.BEST_CHECKPOINT
    shutil.copy(checkpoint, model)
    for trained, told in (("axes-mean", False), (None, False), ("in-slice", True)):
        record["data"][schema.DIAMETER_KIND] = trained
        (tmp_path / schema.RUN_RECORD).write_text(json.dumps(record))
        done = noduleclip(
            "embed",
            "--roi-csv",
            table,
            "--model",
            model,
            "--out-dir",
            tmp_path / "index",
            "--device",
            "cpu",
            "--overwrite",
        )
        assert done.code == 0, done.err
        assert ("diameters of the table are axes-mean" in done.err) is told
    assert set(open_index(tmp_path / "index").read_columns([schema.DIAMETER_KIND]).to_series()) == {"axes-mean"}


def test_train_records_the_kind(collection: Collection, noduleclip: Command, tmp_path: Path) -> None:
    table = write_table(collection, tmp_path, [" equivalent"])
    arguments = train_arguments(collection, tmp_path / "run", "--epochs", 1)
    arguments[arguments.index("--roi-csv") + 1] = table
    done = noduleclip(*arguments)
    assert done.code == 0, done.err
    assert recall_diameter_kind(tmp_path / "run" / schema.BEST_CHECKPOINT) == "equivalent"


@pytest.mark.parametrize("record", ["", "{", "[1]", '{"data": 1}', '{"data": {"diameter_kind": 3}}', "{}"])
def test_a_record_that_does_not_say_is_none(tmp_path: Path, record: str) -> None:
    assert recall_diameter_kind(tmp_path / "clip_best.pth") is None
    (tmp_path / schema.RUN_RECORD).write_text(record)
    assert recall_diameter_kind(tmp_path / "clip_best.pth") is None


def test_the_shipped_model_learned_the_diameters_of_its_tables() -> None:
    assert recall_diameter_kind(find_checkpoint(Path("lidc"))) == "in-slice"
