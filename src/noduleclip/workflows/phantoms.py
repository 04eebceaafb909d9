"""Phantom patients with nodules of known size, as DICOM series with a ROI table (`phantom`)."""

from pathlib import Path

from noduleclip.phantom.patients import PhantomConfig, PhantomSummary, make_phantoms
from noduleclip.workflows.output_lock import output_lock
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import count_workers


def write_phantoms(
    out: Path, *, patients: int = 60, seed: int = 0, workers: str = "auto", reporter: Reporter = SILENT
) -> PhantomSummary:
    """Write the series of all patients and their ROI table.

    Args:
        out: Folder to make.
        patients: Number of patients.
        seed: Seed of everything random.
        workers: Processes, or "auto".
        reporter: Receives progress.

    Raises:
        UsageError: The folder is not empty.
    """
    with (
        output_lock(out, (), "", replace=True, whole=True, reporter=reporter),
        reporter.progress("drawing phantoms", patients, "patients") as advance,
    ):
        config = PhantomConfig(patients=patients, seed=seed)
        return make_phantoms(out, config, on_patient=lambda _: advance(1), workers=count_workers(workers))
