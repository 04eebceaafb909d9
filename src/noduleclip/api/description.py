"""Description of the nodules of a ROI table."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from noduleclip.api.arguments import as_path, choose_reporter, make_table_request


def describe(
    roi_csv: str | Path,
    *,
    model: str | Path = "lidc",
    unit: str = "auto",
    patients_file: str | Path | None = None,
    dicom_root: str | Path | None = None,
    keep: Sequence[str] = (),
    limit: int | None = None,
    max_rejects: float = 0.01,
    bs: int = 64,
    device: str = "auto",
    views: int | None = None,
    precision: str = "auto",
    workers: int | str = "auto",
    cache_dir: str | Path | None = None,
    verbose: bool = False,
) -> pl.DataFrame:
    """Describe the nodules of a ROI table by what their images show, without keeping an index.

    For an index use `Index.describe`.

    Args:
        roi_csv: ROI table, or a table of points: slices and places of candidates without a size.
        model: Checkpoint, or "lidc" for the bundled model.
        unit: What a row is: "nodule", "outline", or "auto": a nodule where the table has `nodule_id`.
        patients_file: File of the patients to describe, one id a line; None = all.
        dicom_root: Folder that relative DICOM paths start from; None = the table's folder, else the working folder.
        keep: Further columns of the table to carry along.
        limit: Use the first rows only.
        max_rejects: Share of unusable rows above which this is an error, in [0, 1].
        bs: Crops in a forward pass.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        views: Views of a crop whose embeddings are averaged: 1, 2, 4 or 8; None = the model's own number.
        precision: Arithmetic of the image encoder on a CPU: "float32", "int8", or "auto" for the faster one here.
        workers: Processes that decode slices, or "auto".
        cache_dir: Folder where cut crops are kept; None = the user's cache folder.
        verbose: Print messages and progress on stderr.

    Returns:
        A row per nodule, in the order of the table: `csv_row`, the estimated diameter with its interval, ratings, the
        description in words, probabilities (the columns of `estimates.csv`).

    Raises:
        UsageError: An argument is not allowed.
        InputError: The table cannot be read, or too many rows are unusable.
        ArtefactError: The checkpoint is broken.

    Examples:
        >>> nodules = nc.describe("phantoms/roi_with_diam.csv", model="runs/first/clip_best.pth", limit=5)
        >>> words = nodules["description"][0]
    """
    from noduleclip.workflows.describe_table import DescribeTableRequest, describe_table

    table = make_table_request(
        roi_csv, dicom_root=dicom_root, max_rejects=max_rejects, cache_dir=cache_dir, workers=workers, limit=limit,
        keep=keep,
    )  # fmt: skip
    request = DescribeTableRequest(
        table=table, model=Path(model), unit=unit, patients_file=as_path(patients_file), bs=bs,
        device=device, views=views, precision=precision,
    )  # fmt: skip
    return describe_table(request, choose_reporter(verbose)).table
