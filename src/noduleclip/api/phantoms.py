"""Phantom patients, to try everything without data."""

from pathlib import Path

from noduleclip.api.arguments import choose_reporter


def make_phantoms(
    out: str | Path, *, patients: int = 60, seed: int = 0, workers: int | str = "auto", verbose: bool = False
) -> Path:
    """Make phantom patients with nodules of known size; the same files as `noduleclip phantom`.

    Args:
        out: Folder to make.
        patients: Number of patients, each with one CT series.
        seed: Seed of everything random.
        workers: Processes, or "auto". A script needs `if __name__ == "__main__":` around the call, unless it is 1.
        verbose: Print progress on stderr.

    Returns:
        The ROI table, for `embed` and `train`.

    Raises:
        UsageError: The folder is not empty.
        OutputError: It cannot be written to.

    Examples:
        >>> roi_csv = nc.make_phantoms("three-phantoms", patients=3)
    """
    from noduleclip.workflows.phantoms import write_phantoms

    reporter = choose_reporter(verbose)
    return write_phantoms(Path(out), patients=patients, seed=seed, workers=str(workers), reporter=reporter).roi_csv
