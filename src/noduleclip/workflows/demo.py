"""The demo: its folder, and the commands that it runs on phantoms (`demo`)."""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.disk import require_space
from noduleclip.io.output_folders import find_other, refuse_link
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import read_roi_table
from noduleclip.phantom.patients import PhantomConfig, measure_phantoms
from noduleclip.workflows.evaluate import EVALUATION_FILES
from noduleclip.workflows.index_target import INDEX_PATTERN
from noduleclip.workflows.output_lock import output_lock
from noduleclip.workflows.reporter import SILENT, Reporter

_PHANTOMS, _SPLITS, _RUN, _INDEX, _REPORT, _CACHE = "phantoms", "splits", "run", "index", "report", "cache"
_PAGE: Final = "hits.html"
_RUN_BYTES: Final = 60_000_000  # checkpoints of the default model while they are replaced, at least
_FILES: Final = {
    _PHANTOMS: (re.escape(schema.ROI_CSV), r"dicom/PHANTOM-\d{4}/\d{5}\.dcm"),
    _SPLITS: tuple(map(re.escape, schema.SPLIT_FILES)),
    _RUN: tuple(map(re.escape, (*schema.RUN_FILES, schema.REJECTS_CSV))),
    _INDEX: (INDEX_PATTERN,),
    _REPORT: tuple(map(re.escape, EVALUATION_FILES)),
}  # patterns of the files in each folder that the demo makes


@dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """Size of the demo and where it goes.

    Attributes:
        out: Folder for everything.
        data_only: Make the phantoms only.
        patients: Number of phantom patients.
        epochs: Epochs of training.
        device: "auto", or a device as `torch.device` takes it.
        workers: Processes, or "auto".
        seed: Seed of phantoms, split and training.
        overwrite: Remove what an earlier demo made, and start again.
    """

    out: Path
    data_only: bool = False
    patients: int = 90
    epochs: int = 50
    device: str = "auto"
    workers: str = "auto"
    seed: int = 0
    overwrite: bool = False

    @property
    def roi_csv(self) -> Path:
        """Table of the phantoms."""
        return self.out / _PHANTOMS / schema.ROI_CSV

    @property
    def index(self) -> Path:
        """Index of the test patients."""
        return self.out / _INDEX

    @property
    def hits_page(self) -> Path:
        """Page of the hits of the first query."""
        return self.out / _PAGE

    @property
    def training_page(self) -> Path:
        """Page of the training run."""
        return self.out / _RUN / schema.TRAINING_PAGE

    @property
    def evaluation_page(self) -> Path:
        """Page of the evaluation."""
        return self.out / _REPORT / schema.EVALUATION_PAGE


@dataclass(frozen=True)
class DemoStep:
    """One command.

    Attributes:
        command: Its name.
        arguments: Values of its parameters.
        describe: Says in a few words what it did, once it has; None for a command whose own output says it.
    """

    command: str
    arguments: Mapping[str, object]
    describe: Callable[[], str] | None = None


@contextlib.contextmanager
def demo_lock(request: DemoRequest, reporter: Reporter = SILENT) -> Iterator[None]:
    """Clear the folder of the demo, and keep others from writing there while the block runs.

    Raises:
        UsageError: The folder holds an earlier demo, or files that are not of a demo.
        OutputError: There is no room.
    """
    out = request.out
    folders = (_PHANTOMS,) if request.data_only else tuple(_FILES)
    results = folders if request.data_only else (*folders, _PAGE)
    with output_lock(out, results, "--overwrite starts again", replace=request.overwrite, reporter=reporter):
        others = [other for name in folders if (other := find_other(out / name, _FILES[name]))]
        if others:
            raise UsageError(f"{others[0]}: is not of the demo and would be removed; move it, or choose another --out")
        refuse_link(out / _CACHE)
        for name in folders:
            shutil.rmtree(out / name, ignore_errors=True)
        if not request.data_only:
            request.hits_page.unlink(missing_ok=True)
        phantoms_bytes = measure_phantoms(PhantomConfig(patients=request.patients, seed=request.seed))
        require_space(out, phantoms_bytes + (0 if request.data_only else _RUN_BYTES))
        yield


def list_steps(request: DemoRequest, *, preview: bool = False) -> list[DemoStep]:
    """Return the commands of the demo in order.

    Args:
        request: The demo.
        preview: Whether the hits have pictures in the terminal.
    """
    out, seed, workers = request.out, request.seed, request.workers
    roi_csv, lists, run, index = request.roi_csv, out / _SPLITS, out / _RUN, request.index
    train_list, val_list, test_list = (lists / name for name in schema.SPLIT_FILES)
    phantom = DemoStep(
        "phantom",
        {"out": roi_csv.parent, "patients": request.patients, "seed": seed, "workers": workers},
        lambda: f"{_count_nodules(roi_csv)} nodules of {request.patients} patients",
    )
    if request.data_only:
        return [phantom]
    common = {"device": request.device, "workers": workers, "cache_dir": out / _CACHE}
    epochs = "1 epoch" if request.epochs == 1 else f"{request.epochs} epochs"
    as_table = {"output_format": "table"}
    search = {"emb_dir": index, **as_table}
    shown = {**search, "topk": "3", "preview": True} if preview else {**search, "topk": "5"}
    return [
        phantom,
        DemoStep("split", {
            "roi_csv": roi_csv, "out": lists, "train": 0.7, "val": 0.1, "test": 0.2, "seed": seed, **as_table,
        }, lambda: "{} patients to train, {} to validate, {} to test".format(
            *(len(read_patient_list(path)) for path in (train_list, val_list, test_list))
        )),
        DemoStep("train", {
            "roi_csv": roi_csv, "train_patients": train_list, "val_patients": val_list, "out": run,
            "epochs": request.epochs, "bs": 32, "seed": seed, **common,
        }, lambda: f"{epochs} on {_count_nodules(roi_csv, train_list)} nodules"),
        DemoStep("embed", {
            "roi_csv": roi_csv, "patients_file": test_list, "model": run / schema.BEST_CHECKPOINT, "out_dir": index,
            **common,
        }, lambda: f"{_count_nodules(roi_csv, test_list)} nodules of patients not trained on"),
        DemoStep(
            "evaluate", {"emb_dir": index, "out": out / _REPORT, **as_table, "verbose": True},
            lambda: "queries for sizes and ratings, beside a second reader",
        ),
        DemoStep(
            "fuse", {**search, "query": "6-10 mm", "alpha": "0.5"},
            lambda: "6-10 mm, half by the image, half by the measurement",
        ),
        DemoStep("query", {**shown, "query": "a lung nodule with diameter > 10 mm", "html": request.hits_page}),
        DemoStep("query", {**shown, "query": "a ground-glass nodule"}),
    ]  # fmt: skip


def _count_nodules(roi_csv: Path, patients: Path | None = None) -> int:
    """Return the number of nodules in the table, or of those of the patients in a list."""
    frame = read_roi_table(roi_csv).frame
    if patients is not None:
        frame = frame.filter(pl.col(schema.PATIENT_ID).is_in(read_patient_list(patients)))
    return frame[schema.NODULE_ID].n_unique()
