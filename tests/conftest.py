"""Phantoms of known millimetres, a model trained on them for a moment, and the command as a user calls it."""

import contextlib
import functools
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import settings

from noduleclip import schema
from noduleclip.cli import main
from noduleclip.config import FLOAT32
from noduleclip.engine.encoders import open_encoders
from noduleclip.io.crop_cache import default_cache_folder
from noduleclip.phantom.patients import PhantomConfig, make_phantoms
from noduleclip.report.console import data_console, message_console

signal.signal(signal.SIGINT, signal.default_int_handler)  # `nohup` has it ignored: tests of Ctrl-C would not end
settings.register_profile("steady", deadline=None, derandomize=True)  # the same examples on any machine, at any load
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what the ordinary suite leaves out: it kills at a sample of moments, and opens no browser."""
    parser.addoption("--every-kill", action="store_true", help="kill each command at every moment, for an hour or so")
    parser.addoption("--ray", action="store_true", help="embed with Ray, whose start takes a minute")
    parser.addoption("--browser", action="store_true", help="open the explorer's page in Chromium, for minutes")
    parser.addoption("--pictures", metavar="FOLDER", help="where the pictures of the explorer's page go")


SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def call(*arguments: object) -> Outcome:
    """Run the command in this process, with its own stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    for console in (data_console, message_console):
        console.cache_clear()  # rich reads COLUMNS when a console is made
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Outcome(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Collection:
    """Phantoms with their table and a split."""

    folder: Path
    roi_csv: Path
    train: Path
    val: Path
    test: Path


@pytest.fixture(scope="session")
def noduleclip() -> Command:
    """The command: `noduleclip("query", "--emb-dir", folder)`."""
    return call


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the user's crop cache, record of indexes and settings out of the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    for name in [name for name in os.environ if name.startswith("NODULECLIP_")]:
        del os.environ[name]
    os.environ["NODULECLIP_EMBED_PRECISION"] = "float32"  # which one is faster for a tiny model is up to chance


@pytest.fixture(autouse=True)
def _plain_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of pages empty: to draw them takes longer than most commands; `figures` has them drawn."""
    if "figures" not in request.fixturenames:
        monkeypatch.setattr("noduleclip.report.page.draw_svg", lambda _: "<svg></svg>")


@pytest.fixture
def figures() -> None:
    """Pages with their figures."""


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Twelve small phantom patients."""
    folder = tmp_path_factory.mktemp("collection")
    summary = make_phantoms(folder / "phantoms", PhantomConfig(patients=12, seed=3, matrix_px=96))
    assert (
        call("split", "--roi-csv", summary.roi_csv, "--out", folder / "splits", "--val", 0.15, "--test", 0.15).code == 0
    )
    lists = (folder / "splits" / name for name in (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS, schema.TEST_PATIENTS))
    return Collection(folder, summary.roi_csv, *lists)


def train_arguments(collection: Collection, out: Path, *more: object) -> list[object]:
    """The options of a training run of seconds."""
    return [
        "train", "--roi-csv", collection.roi_csv, "--train-patients", collection.train,
        "--val-patients", collection.val, "--out", out, "--epochs", 2, "--bs", 8, "--img-size", 32,
        "--emb", 16, "--workers", 1, "--device", "cpu", "--text-steps", 6, *more,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def _one_export_of_a_model() -> Iterator[None]:
    """Keep the files of exported models, and the crops to calibrate them: torch takes half a minute to export one."""
    from noduleclip.engine import exports
    from noduleclip.models.checkpoint import hash_model
    from noduleclip.models.clip import ClipModel
    from noduleclip.phantom.crops import draw_crops

    def keeping(export: Callable[[ClipModel, Path], None]) -> Callable[[ClipModel, Path], None]:
        kept: dict[str, bytes] = {}

        def write(model: ClipModel, path: Path) -> None:
            model_id = hash_model(model)
            if model_id not in kept:
                export(model, path)
                kept[model_id] = path.read_bytes()
            path.write_bytes(kept[model_id])

        return write

    drawn = functools.cache(draw_crops)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("export_text_encoder", "export_image_encoder"):
            patched.setattr(exports, name, keeping(getattr(exports, name)))
        patched.setattr(exports, "draw_crops", lambda count, crop: drawn(count, crop).copy())
        yield


@pytest.fixture(scope="session")
def checkpoint(collection: Collection, _one_export_of_a_model: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for two epochs: it ranks badly, and everything else about it is real."""
    out = tmp_path_factory.mktemp("runs") / "run"
    outcome = call(*train_arguments(collection, out))
    assert outcome.code == 0, outcome.err
    return out / schema.BEST_CHECKPOINT


@pytest.fixture(scope="session")
def exported(checkpoint: Path) -> Path:
    """The tests' own default cache, with the encoders of `checkpoint` in it: to export them takes seconds."""
    open_encoders(checkpoint, default_cache_folder(), "cpu", precision=FLOAT32)
    return default_cache_folder()


@pytest.fixture(scope="session")
def index(collection: Collection, checkpoint: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All outlines of the phantoms embedded."""
    out = tmp_path_factory.mktemp("indexes") / "index"
    outcome = call(
        "embed", "--roi-csv", collection.roi_csv, "--unit", "outline", "--model", checkpoint, "--out-dir", out,
        "--device", "cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return out


@pytest.fixture(scope="session")
def nodule_index(
    collection: Collection, checkpoint: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All nodules of the phantoms embedded, a row each."""
    out = tmp_path_factory.mktemp("indexes") / "nodules"
    outcome = call("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", out, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    return out


@pytest.fixture(scope="session")
def rated_index(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All phantoms embedded by the bundled model, with readers who rate malignancy by size and are one apart."""
    apart = pl.int_range(pl.len()) % 3 - 1
    size = pl.col(schema.DIAMETER_MM)
    malignancy = pl.when(size <= 6).then(2).when(size <= 9).then(3).otherwise(4) + apart
    table = collection.roi_csv.parent / "rated.csv"
    pl.read_csv(collection.roi_csv).with_columns(malignancy.alias(schema.MALIGNANCY)).write_csv(table)
    out = tmp_path_factory.mktemp("rated") / "index"
    outcome = call("embed", "--roi-csv", table, "--out-dir", out, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    return out


@pytest.fixture(scope="session")
def run_without_torch() -> Callable[..., None]:
    """Run a command in a new process on a machine without an accelerator, and check that it loads no torch."""

    def run(*arguments: object) -> None:
        code = f"""
import sys
from noduleclip import machine
machine._DRIVERS = ()
from noduleclip.cli import main
try:
    main({[str(argument) for argument in arguments]!r})
except SystemExit as end:
    assert not end.code, end.code
loaded = {{name.split(".")[0] for name in sys.modules}} & {{"torch", "timm", "onnx"}}
assert not loaded, loaded
"""
        subprocess.run([sys.executable, "-c", code], check=True)

    return run


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk, or skip the test where that cannot be done."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.name == "nt" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real nodules, where a checkout has them beside it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA
