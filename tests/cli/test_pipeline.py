"""split, demo and evaluate as a user calls them."""

import csv
import io
import itertools
import json
import re
from pathlib import Path

import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.consensus import collapse_nodules
from noduleclip.io.roi_table import read_roi_table
from noduleclip.io.size_bins import count_sizes
from noduleclip.report.console import data_console, message_console


def test_split_lists_every_patient_once(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    done = noduleclip("split", "--roi-csv", collection.roi_csv, "--out", tmp_path, "--seed", 5)
    assert done.code == 0, done.err
    names = (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS, schema.TEST_PATIENTS)
    lists = [(tmp_path / name).read_text().split() for name in names]
    assert sorted(itertools.chain(*lists)) == sorted(pl.read_csv(collection.roi_csv)[schema.PATIENT_ID].unique())
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["split"] for row in rows] == list(names)
    assert [int(row["patients"]) for row in rows] == [len(patients) for patients in lists]


def test_split_refuses_shares_that_do_not_add_up(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    done = noduleclip("split", "--roi-csv", collection.roi_csv, "--out", tmp_path, "--train", 0.9)
    assert done.code == 2
    assert "must be positive and sum to 1" in done.err


def test_phantom_writes_only_data(noduleclip: Command, tmp_path: Path) -> None:
    done = noduleclip("phantom", "--out", tmp_path / "data", "--patients", 3, "--workers", 1)
    assert done.code == 0, done.err
    assert (tmp_path / "data" / schema.ROI_CSV).exists()
    again = noduleclip("demo", "--data-only", "--out", tmp_path, "--patients", 3, "--workers", 1)
    assert again.code == 0, again.err
    assert [path.name for path in (tmp_path / "phantoms").iterdir()]
    one, two = ((tmp_path / name / schema.ROI_CSV).read_bytes() for name in ("data", "phantoms"))
    assert one == two


STEPS = ("phantom", "split", "train", "embed", "evaluate", "fuse")
SMALL_DEMO = ("--patients", 12, "--epochs", 1, "--device", "cpu")


@pytest.mark.slow
def test_demo_has_a_line_for_each_step_and_two_tables(noduleclip: Command, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = noduleclip("demo", "--out", out, *SMALL_DEMO)
    assert done.code == 0, done.err
    lines = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    begun = [line.removesuffix(" …") for line in lines if line.endswith(" …")]
    assert begun == list(STEPS), "a line when a step begins: there is no bar without a terminal"
    messages = [line for line in lines if not line.endswith(" …")]
    assert len(messages) <= 15
    steps = messages[: len(STEPS)]
    assert [line.split(":")[0] for line in steps] == list(STEPS)
    assert [line for line in steps if not re.search(r": .+ … \d+\.\d s$", line)] == []
    assert re.match(r"phantom: \d+ nodules of 12 patients …", steps[0])
    assert re.match(r"train: 1 epoch on \d+ nodules …", steps[2])
    assert len(re.findall("probability.*slice", done.out)) == 2
    assert done.out.count("read as: ") == 2 and "mean AP" not in done.out and "▀" not in done.out
    assert "the figures do not hold for real nodules" in done.err and "$ noduleclip" not in done.err
    assert f"noduleclip serve {out / 'index'}\n" in done.err
    (sentence,) = re.findall(rf'noduleclip query {out / "index"} "(.+)"', done.err)
    assert noduleclip("query", out / "index", sentence).code == 0
    pages = re.findall(r"/\S+\.html", done.err)
    assert [Path(page).name for page in pages] == ["hits.html", schema.TRAINING_PAGE, schema.EVALUATION_PAGE]
    assert all(Path(page).exists() for page in pages)
    nodules = [int(re.findall(r": (\d+) nodules", steps[at])[0]) for at in (0, 3)]
    table = pl.read_csv(out / "phantoms" / schema.ROI_CSV)
    tested = (out / "splits" / schema.TEST_PATIENTS).read_text().split()
    of_tested = table.filter(pl.col(schema.PATIENT_ID).is_in(tested))
    assert nodules == [frame[schema.NODULE_ID].n_unique() for frame in (table, of_tested)]
    assert noduleclip("demo", "--out", out).code == 2


@pytest.mark.slow
def test_verbose_demo_shows_commands_and_statistics(
    noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for console in (data_console, message_console):
        console.cache_clear()
    try:
        done = noduleclip("demo", "--out", tmp_path / "demo", *SMALL_DEMO, "--verbose")
    finally:
        monkeypatch.undo()
        for console in (data_console, message_console):
            console.cache_clear()
    assert done.code == 0, done.err
    messages = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.err)
    commands = [line for line in messages.splitlines() if line.startswith("$ noduleclip")]
    assert [line.split()[2] for line in commands] == [*STEPS, "query", "query"]
    assert " --preview" in commands[-1] and "--preview True" not in messages
    assert "epoch   1/1" in messages
    for text in ("probability", "score", "mean AP, all nodules", "the panel of all other readers there"):
        assert text in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.out)
    assert re.search("[▀░▒▓█]{6}", done.out)


def test_evaluate_prints_one_object(noduleclip: Command, index: Path) -> None:
    done = noduleclip("evaluate", "--emb-dir", index, "--format", "json", "--resamples", 10, "--draws", 5)
    assert done.code == 0, done.err
    evaluation = json.loads(done.out)
    assert len(evaluation["queries"]) == 10
    for query in evaluation["queries"]:
        assert query["model"]["ap"]["mean"] is None or 0 <= query["model"]["ap"]["mean"] <= 1
    assert evaluation["model"]["ap"]["low"] <= evaluation["model"]["ap"]["high"]
    rated = [query["query"] for query in evaluation["ratings"]["queries"]]  # phantoms have texture and subtlety
    assert "a solid lung nodule" in rated and "a spiculated lung nodule" not in rated
    assert evaluation["common"] <= evaluation["nodules"]
    asked = ("evaluate", "--emb-dir", index, "--format", "table", "--resamples", 10, "--draws", 5)
    short, everything = (noduleclip(*asked, *more).out.splitlines() for more in ((), ("--verbose",)))
    assert max(len(line.rstrip()) for line in (*short, *everything)) <= 80
    assert len(short) <= 40 < len(everything)
    mean = next(line for line in short if "mean AP, 10 sizes" in line)
    assert f" {evaluation['model']['ap']['mean']:.3f} " in mean


@pytest.mark.slow
def test_real_nodules_go_through(
    noduleclip: Command, shared_data: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 83 outlines on full LIDC slices: every one is embedded, every slice is decoded once."""
    from noduleclip.io.dicom import slice as dicom_slice

    read: list[str] = []
    original = dicom_slice.read_ct_slice

    def count(path: Path, **options: bool) -> dicom_slice.CtSlice:
        read.append(str(path))
        return original(path, assume_hu=options["assume_hu"])

    monkeypatch.setattr(dicom_slice, "read_ct_slice", count)
    rois = shared_data / "lidc_slices" / "rois.csv"
    done = noduleclip(
        "embed", "--roi-csv", rois, "--unit", "outline", "--model", checkpoint, "--out-dir", tmp_path / "index",
        "--strict", "--cache-dir", tmp_path / "cache",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert pl.read_parquet(tmp_path / "index" / schema.META).height == 83
    assert len(read) == len(set(read)) == pl.read_csv(rois)[schema.DICOM_PATH].n_unique()


def test_evaluate_takes_other_sentences(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("nodules bigger than 7.3mm\nbetween 0.8 and 1.2 cm\n")
    arguments = ("evaluate", "--emb-dir", index, "--queries", tmp_path / "sizes.txt", "--resamples", 10, "--draws", 5)
    rows = list(csv.DictReader(io.StringIO(noduleclip(*arguments, "--format", "csv").out)))
    assert [row["query"] for row in rows] == ["nodules bigger than 7.3mm", "between 0.8 and 1.2 cm"]
    for sentence, message in (
        ("a pleural nodule", "'a pleural nodule' has no size and no rating"),
        ("a spiculated nodule", "no reader has rated spiculation"),
    ):
        (tmp_path / "sizes.txt").write_text(f"{sentence}\n")
        refused = noduleclip(*arguments)
        assert refused.code == 3
        assert message in refused.err


def test_a_narrow_window_never_shortens_a_number(
    noduleclip: Command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sizes.txt").write_text("a rather long way of asking for nodules that are bigger than 7.3 mm\n")
    monkeypatch.setenv("COLUMNS", "60")
    arguments = ("--queries", tmp_path / "sizes.txt", "--resamples", 10, "--draws", 5, "--format", "table", "--verbose")
    table = noduleclip("evaluate", "--emb-dir", index, *arguments).out
    assert "…" not in table
    assert len(re.findall(r"\b[01]\.\d{3}\b", table.split("mean AP")[0])) == 12


def test_the_demo_refuses_a_folder_with_other_files(noduleclip: Command, tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "mine.txt").write_text("x")
    refused = noduleclip("demo", "--out", tmp_path)
    assert refused.code == 2
    assert "already holds splits" in refused.err
    assert noduleclip("demo", "--out", tmp_path, "--data-only", "--patients", 3).code == 0
    assert (tmp_path / "splits" / "mine.txt").exists()


def test_embed_prints_the_sizes_of_the_nodules(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    arguments = ("--roi-csv", collection.roi_csv, "--model", checkpoint, "--device", "cpu", "--limit", 9)
    done = noduleclip("embed", *arguments, "--out-dir", tmp_path / "index")
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith("sizes in mm: ")]
    bins = re.findall(r"([^|]+) (\d+) [▁-█](?: \| |$)", line.removeprefix("sizes in mm: "))
    counts = count_sizes(collapse_nodules(read_roi_table(collection.roi_csv).frame).head(9))
    assert {name: int(count) for name, count in bins} == {name: count for name, count in counts.items() if count}
