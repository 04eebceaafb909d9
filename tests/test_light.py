"""A light installation: everything but training and the export of own checkpoints works without torch."""

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import polars as pl
import pydicom
import pytest

from conftest import Collection
from noduleclip import schema
from noduleclip.machine import TRAINING_LIBRARIES

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = (*TRAINING_LIBRARIES, "torchvision")
HIDE = f"""
import sys
from importlib.abc import MetaPathFinder

class Hide(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HIDDEN!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {HIDDEN!r}:
    sys.modules[name] = None
sys.meta_path.insert(0, Hide())
"""


def run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process that cannot import what a light installation lacks."""
    command = (sys.executable, "-c", HIDE + textwrap.dedent(code))
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run_commands(commands: list[list[object]], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run command lines one after the other, until one fails."""
    lines = [[str(word) for word in command] for command in commands]
    return run(
        f"""
        from noduleclip.cli import main
        for line in {lines!r}:
            try:
                main(line)
            except SystemExit as end:
                if end.code:
                    print(line, file=sys.stderr)
                    raise
        """,
        folder,
    )


@pytest.mark.slow
def test_everything_but_training_works(collection: Collection, tmp_path: Path) -> None:
    """On a machine with a GPU's driver, too: without torch the CPU is used."""
    table, data = ["--roi-csv", collection.roi_csv], collection.roi_csv.parent
    points = _write_points(collection, tmp_path)
    done = run_commands(
        [
            ["demo", "--data-only", "--patients", 3, "--out", "demo"],
            ["check", *table],
            ["split", *table, "--out", "splits"],
            ["prepare", "csv", "--table", points, "--data-root", data, "--out", "prepared"],
            ["embed", *table, "--out-dir", "idx"],
            ["embed", *table, "--out-dir", "shards", "--shard", "1/2"],
            ["embed", *table, "--out-dir", "shards", "--shard", "2/2"],
            ["merge", "--out-dir", "shards"],
            ["verify", "--emb-dir", "idx"],
            ["query", "--emb-dir", "idx", "--query", "> 6 mm", "--out", "hits", "--html", "hits.html"],
            ["query", "--emb-dir", "idx", "--like", 3],
            ["fuse", "--emb-dir", "idx", "--query", "> 6 mm"],
            ["describe", "--emb-dir", "idx"],
            ["describe", *table],
            ["evaluate", "--emb-dir", "idx", "--out", "report", "--resamples", 10, "--draws", 5],
            ["doctor"],
        ],
        tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "torch is not installed" in done.stdout
    for made in (
        f"idx/{schema.INDEX_MANIFEST}",
        f"shards/{schema.INDEX_MANIFEST}",
        "hits.html",
        "report/evaluation.html",
    ):
        assert (tmp_path / made).is_file(), made


def _write_points(collection: Collection, folder: Path) -> Path:
    """Write a table of the places of two nodules, in mm, as a detector does."""
    rows = []
    for row in pl.read_csv(collection.roi_csv).head(2).iter_rows(named=True):
        dataset = pydicom.dcmread(collection.roi_csv.parent / row[schema.DICOM_PATH], stop_before_pixels=True)
        x, y, z = dataset.ImagePositionPatient
        spacing_y, spacing_x = dataset.PixelSpacing
        place = {"coordX": x + row[schema.CENTROID_X] * spacing_x, "coordY": y + row[schema.CENTROID_Y] * spacing_y}
        rows.append({"seriesuid": row[schema.SERIES_UID], **place, "coordZ": z, "diameter_mm": row[schema.DIAMETER_MM]})
    path = folder / "points.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.mark.slow
def test_the_python_interface_works(collection: Collection, tmp_path: Path) -> None:
    done = run(
        f"""
        import noduleclip as nc
        from noduleclip.errors import UsageError
        index = nc.embed({str(collection.roi_csv)!r}, out_dir="idx")
        assert len(index.query("> 6 mm", k=3).table) == 3
        assert index.describe().height and nc.evaluate(index, draws=2, resamples=10).mean_ap > 0
        try:
            nc.train({str(collection.roi_csv)!r}, train_patients={str(collection.train)!r}, out="run")
        except UsageError as error:
            assert str(error) == "train needs torch: pip install torch timm onnx onnxscript", error
        else:
            raise AssertionError
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_explorer_works(index: Path, tmp_path: Path) -> None:
    done = run(
        f"""
        from pathlib import Path
        from starlette.testclient import TestClient
        from noduleclip.cli import main
        import uvicorn
        uvicorn.Server.run = lambda self, sockets=None: print("served")
        main(["serve", "--emb-dir", {str(index)!r}, "--port", "0"])
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert not [name for name in HIDDEN if f"needs {name}" in done.stderr]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["train", "demo", "embed", "device"])
def test_what_needs_torch_names_what_to_install(
    collection: Collection, checkpoint: Path, tmp_path: Path, what: str
) -> None:
    table = ["--roi-csv", collection.roi_csv]
    commands: dict[str, list[object]] = {
        "train": ["train", *table, "--train-patients", collection.train, "--out", "run"],
        "demo": ["demo", "--out", "demo"],
        "embed": ["embed", *table, "--model", checkpoint, "--out-dir", "idx", "--cache-dir", "cache"],
        "device": ["embed", *table, "--device", "cuda", "--out-dir", "idx"],
    }
    done = run_commands([commands[what]], tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r" needs torch: pip install torch timm onnx onnxscript$", errors[0])
    assert not (tmp_path / "demo").exists() and not (tmp_path / "run").exists()


def test_a_missing_extra_is_suggested_without_torch(tmp_path: Path) -> None:
    done = run(
        """
        import sys
        sys.modules["starlette"] = None
        from noduleclip.cli import main
        main(["serve", "--emb-dir", "none"])
        """,
        tmp_path,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r'error: serve needs starlette: pip install( "[a-z0-9]+>=[0-9.]+")+', line), line
    assert "noduleclip[" not in line and '"starlette>=' in line


def test_each_extra_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) and set(
        re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    ) == set(project["optional-dependencies"])


def test_the_light_requirements_are_all_others() -> None:
    """`nox -s light` writes them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [line for line in project["dependencies"] if not re.match(rf"({'|'.join(TRAINING_LIBRARIES)})\b", line)]
    lines = (ROOT / "requirements-light.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == wanted
    assert len(wanted) == len(project["dependencies"]) - len(TRAINING_LIBRARIES)
