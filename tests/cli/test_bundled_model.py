"""From a table to an answer without any training."""

import json
from collections.abc import Callable
from pathlib import Path

from conftest import Collection, Command
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.io.index.open import open_index
from noduleclip.models.checkpoint import load_model


def test_embed_and_query_without_training(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    """It has never seen a phantom; it still has to tell large ones from small ones."""
    embedded = noduleclip("embed", "--roi-csv", collection.roi_csv, "--out-dir", tmp_path / "index", "--device", "cpu")
    assert embedded.code == 0, embedded.err
    answered = noduleclip(
        "query", "--emb-dir", tmp_path / "index", "--model", "lidc", "--query", "> 8 mm", "--format", "json"
    )
    assert answered.code == 0, answered.err
    evaluated = noduleclip("evaluate", "--emb-dir", tmp_path / "index", "--format", "json", "--resamples", 10)
    assert "none of 12 patients trained the model" in evaluated.err
    found = json.loads(evaluated.out)
    base = sum(query["base_rate"] for query in found["queries"]) / len(found["queries"])
    assert found["model"]["ap"]["mean"] > base + 0.2


def test_embed_loads_no_torch_even_the_first_time(
    collection: Collection, run_without_torch: Callable[..., None], tmp_path: Path
) -> None:
    out = tmp_path / "index"
    run_without_torch("embed", "--roi-csv", collection.roi_csv, "--cache-dir", tmp_path / "cache", "--out-dir", out)
    assert open_index(out).manifest.rows > 1


def test_its_settings_are_those_of_its_card() -> None:
    config = load_model(find_checkpoint(Path("lidc"))).config
    assert (config.backbone, config.crop.size_px, config.crop.fov_mm, config.emb) == ("resnet10t", 96, 48, 128)


def test_on_real_slices_it_ranks_the_large_ones_first(noduleclip: Command, shared_data: Path, tmp_path: Path) -> None:
    table = ("--roi-csv", shared_data / "lidc_slices" / "rois.csv", "--unit", "outline")
    done = noduleclip("embed", *table, "--out-dir", tmp_path / "index")
    assert done.code == 0, done.err
    assert open_index(tmp_path / "index").manifest.rows == 83
    evaluated = noduleclip("evaluate", "--emb-dir", tmp_path / "index", "--format", "json")
    assert "warning: " in evaluated.err and "the model has seen all 2 patient(s)" in evaluated.err
    queries = {
        query["query"].removeprefix("a lung nodule with diameter "): query["model"]["ap"]["mean"]
        for query in json.loads(evaluated.out)["queries"]
    }
    assert queries["> 10 mm"] > 0.9
