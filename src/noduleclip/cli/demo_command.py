"""`noduleclip demo`."""

import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from noduleclip import schema
from noduleclip.cli import options
from noduleclip.cli.embed_command import embed
from noduleclip.cli.evaluate_command import evaluate
from noduleclip.cli.fuse_command import fuse
from noduleclip.cli.phantom_command import Patients, phantom
from noduleclip.cli.query_command import query
from noduleclip.cli.split_command import split
from noduleclip.cli.train_command import train
from noduleclip.errors import UsageError, make_printable

_QUERIES = ("a lung nodule with diameter > 10 mm", "a small lung nodule")
_FUSED = "6-10 mm"
_PAGE = "hits.html"
_RUN_BYTES = 60_000_000  # checkpoints of the default model while they are replaced, at least


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for everything that the demo makes.", rich_help_panel=options.OUTPUT)
    ] = Path("noduleclip-demo"),
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Make the phantoms and stop.", rich_help_panel=options.OUTPUT)
    ] = False,
    patients: Patients = 90,
    epochs: Annotated[
        int,
        typer.Option(min=1, help="Passes over the training nodules.", rich_help_panel=options.OPTIMISATION),
    ] = 50,
    device: options.DeviceName = "auto",
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Go through everything on phantoms: split, train, embed, query, fuse, evaluate. Minutes on a laptop, no network.

    Example: noduleclip demo --out /tmp/demo
    """  # fmt: skip
    import shutil

    from noduleclip.io.artefacts import find_other, refuse_link
    from noduleclip.io.disk import require_space
    from noduleclip.phantom.patients import PhantomConfig, measure_phantoms
    from noduleclip.report.console import CONSOLE
    from noduleclip.workflows.output_lock import output_lock

    made = _list_made()
    made = {"phantoms": made["phantoms"]} if data_only else made
    results = tuple(made) if data_only else (*made, _PAGE)
    with output_lock(out, results, "--overwrite starts again", replace=overwrite, reporter=CONSOLE):
        others = [other for name, patterns in made.items() if (other := find_other(out / name, patterns))]
        if others:
            raise UsageError(f"{others[0]}: is not of the demo and would be removed; move it, or choose another --out")
        refuse_link(out / "cache")
        for name in made:
            shutil.rmtree(out / name, ignore_errors=True)
        if not data_only:
            (out / _PAGE).unlink(missing_ok=True)
        phantoms_bytes = measure_phantoms(PhantomConfig(patients=patients, seed=seed))
        require_space(out, phantoms_bytes + (0 if data_only else _RUN_BYTES))
        _go_through(out, data_only, patients, epochs, device, workers, seed)


def _list_made() -> dict[str, tuple[str, ...]]:
    """Return the folders that the demo makes, and patterns of the files in each."""
    from noduleclip.workflows.index_target import INDEX_PATTERN

    return {
        "phantoms": (re.escape(schema.ROI_CSV), r"dicom/PHANTOM-\d{4}/\d{5}\.dcm"),
        "splits": tuple(map(re.escape, schema.SPLIT_FILES)),
        "run": tuple(map(re.escape, (*schema.RUN_FILES, schema.REJECTS_CSV))),
        "index": (INDEX_PATTERN,),
    }


def _go_through(out: Path, data_only: bool, patients: int, epochs: int, device: str, workers: str, seed: int) -> None:
    from noduleclip.report.console import log_info

    started = time.perf_counter()
    data, lists, run, index = out / "phantoms", out / "splits", out / "run", out / "index"
    _step(phantom, out=data, patients=patients, seed=seed, workers=workers)
    if data_only:
        return
    roi_csv = data / schema.ROI_CSV
    common = {"device": device, "workers": workers, "cache_dir": out / "cache"}
    _step(split, roi_csv=roi_csv, out=lists, train=0.7, val=0.1, test=0.2, seed=seed, output_format="table")
    _step(
        train, roi_csv=roi_csv, train_patients=lists / schema.TRAIN_PATIENTS, val_patients=lists / schema.VAL_PATIENTS,
        out=run, epochs=epochs, bs=32, seed=seed, **common,
    )  # fmt: skip
    _step(
        embed, roi_csv=roi_csv, patients_file=lists / schema.TEST_PATIENTS, model=run / schema.BEST_CHECKPOINT,
        out_dir=index, **common,
    )  # fmt: skip
    page = out / _PAGE
    _step(query, emb_dir=index, query=_QUERIES[0], topk=8, unique="nodule", output_format="table", html=page)
    _step(query, emb_dir=index, query=_QUERIES[1], topk=8, unique="nodule", output_format="table")
    _step(fuse, emb_dir=index, query=_FUSED, alpha="0.5", topk=8, unique="nodule", output_format="table")
    _step(evaluate, emb_dir=index, output_format="table")
    log_info("")
    log_info(f"That took {time.perf_counter() - started:.0f} s. The patients ranked are none of those trained on.")
    log_info(f"See what was found in {page}, and how training went in {run / schema.TRAINING_PAGE}.")
    log_info("They are phantoms: nothing here says how well a model ranks real nodules. Everything is in " + str(out))


def _step(command: Callable[..., None], **arguments: object) -> None:
    """Show a command as one would type it, and run it."""
    from noduleclip.report.console import message_console

    names = {"output_format": "format"}
    typed = [f"--{names.get(n, n).replace('_', '-')} {shlex.quote(str(value))}" for n, value in arguments.items()]
    line = f"$ noduleclip {command.__name__} {' '.join(typed)}"
    message_console().print("\n" + make_printable(line), style="bold", markup=False, soft_wrap=True)
    command(**arguments)
