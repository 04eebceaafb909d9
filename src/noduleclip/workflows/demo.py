"""The demo: its folder, and the commands that it runs on phantoms (`demo`)."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.disk import require_space
from noduleclip.io.output_folders import find_other, refuse_link
from noduleclip.phantom.patients import PhantomConfig, measure_phantoms
from noduleclip.workflows.index_target import INDEX_PATTERN
from noduleclip.workflows.output_lock import output_lock
from noduleclip.workflows.reporter import SILENT, Reporter

_PHANTOMS, _SPLITS, _RUN, _INDEX, _CACHE = "phantoms", "splits", "run", "index", "cache"
_PAGE: Final = "hits.html"
_RUN_BYTES: Final = 60_000_000  # checkpoints of the default model while they are replaced, at least
_FILES: Final = {
    _PHANTOMS: (re.escape(schema.ROI_CSV), r"dicom/PHANTOM-\d{4}/\d{5}\.dcm"),
    _SPLITS: tuple(map(re.escape, schema.SPLIT_FILES)),
    _RUN: tuple(map(re.escape, (*schema.RUN_FILES, schema.REJECTS_CSV))),
    _INDEX: (INDEX_PATTERN,),
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
    def hits_page(self) -> Path:
        """Page of the hits of the first query."""
        return self.out / _PAGE

    @property
    def training_page(self) -> Path:
        """Page of the training run."""
        return self.out / _RUN / schema.TRAINING_PAGE


@dataclass(frozen=True)
class DemoStep:
    """One command.

    Attributes:
        command: Its name.
        arguments: Values of its parameters.
    """

    command: str
    arguments: Mapping[str, object]


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


def list_steps(request: DemoRequest) -> list[DemoStep]:
    """Return the commands of the demo in order."""
    out, seed, workers = request.out, request.seed, request.workers
    phantom = DemoStep(
        "phantom", {"out": out / _PHANTOMS, "patients": request.patients, "seed": seed, "workers": workers}
    )
    if request.data_only:
        return [phantom]
    roi_csv, lists, run, index = out / _PHANTOMS / schema.ROI_CSV, out / _SPLITS, out / _RUN, out / _INDEX
    common = {"device": request.device, "workers": workers, "cache_dir": out / _CACHE}
    as_table = {"output_format": "table"}
    search = {"emb_dir": index, "topk": "8", **as_table}
    return [
        phantom,
        DemoStep("split", {
            "roi_csv": roi_csv, "out": lists, "train": 0.7, "val": 0.1, "test": 0.2, "seed": seed, **as_table,
        }),
        DemoStep("train", {
            "roi_csv": roi_csv, "train_patients": lists / schema.TRAIN_PATIENTS,
            "val_patients": lists / schema.VAL_PATIENTS, "out": run, "epochs": request.epochs, "bs": 32, "seed": seed,
            **common,
        }),
        DemoStep("embed", {
            "roi_csv": roi_csv, "patients_file": lists / schema.TEST_PATIENTS, "model": run / schema.BEST_CHECKPOINT,
            "out_dir": index, **common,
        }),
        DemoStep("query", {**search, "query": "a lung nodule with diameter > 10 mm", "html": request.hits_page}),
        DemoStep("query", {**search, "query": "a small lung nodule"}),
        DemoStep("fuse", {**search, "query": "6-10 mm", "alpha": "0.5"}),
        DemoStep("evaluate", {"emb_dir": index, **as_table}),
    ]  # fmt: skip
