"""Embedding of a ROI table."""

from collections.abc import Sequence
from pathlib import Path

from noduleclip.api.arguments import as_path, choose_reporter, make_table_request
from noduleclip.api.search import Index, open_index


def embed(
    roi_csv: str | Path,
    *,
    out_dir: str | Path | None = None,
    store: str | None = None,
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
    overwrite: bool = False,
    verbose: bool = False,
) -> Index:
    """Embed the nodules of a ROI table and open the index; the same files as `noduleclip embed`.

    Args:
        roi_csv: ROI table.
        out_dir: Folder of the index; with `store`, of rejected rows and unfinished work.
        store: Address of a Lance store such as "lance://idx.store"; None = the index goes into `out_dir`.
        model: Checkpoint, or "lidc" for the bundled model.
        unit: A row of the index: "nodule", "outline", or "auto": a nodule where the table has `nodule_id`.
        patients_file: File of the patients to embed, one id a line; None = all.
        dicom_root: Folder that relative DICOM paths start from; None = the table's folder, else the working folder.
        keep: Further columns of the table to carry into the index.
        limit: Use the first rows only; of an index of nodules the first nodules.
        max_rejects: Share of unusable rows above which nothing is written, in [0, 1].
        bs: Crops in a forward pass.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        views: Views of a crop whose embeddings are averaged: 1, 2, 4 or 8; None = the model's own number.
        precision: Arithmetic of the image encoder on a CPU: "float32", "int8", or "auto" for the faster one here.
        workers: Processes that decode slices, or "auto".
        cache_dir: Folder where cut crops are kept; None = the user's cache folder.
        overwrite: Replace an index that is already there.
        verbose: Print messages and progress on stderr.

    Raises:
        UsageError: An index is already there, or an argument is not allowed.
        InputError: The table cannot be read, or too many rows are unusable.
        ArtefactError: The checkpoint is broken.

    Examples:
        >>> index = nc.embed("phantoms/roi_with_diam.csv", out_dir="phantom-index", model="runs/first/clip_best.pth")
    """
    from noduleclip.workflows.embed import embed_table
    from noduleclip.workflows.embed_job import EmbedRequest
    from noduleclip.workflows.index_target import choose_target

    table = make_table_request(
        roi_csv, dicom_root=dicom_root, max_rejects=max_rejects, cache_dir=cache_dir, workers=workers, limit=limit,
        keep=keep,
    )  # fmt: skip
    request = EmbedRequest(
        table=table,
        target=choose_target(as_path(out_dir), store),
        model=Path(model),
        unit=unit,
        patients_file=as_path(patients_file),
        bs=bs,
        device=device,
        views=views,
        precision=precision,
        overwrite=overwrite,
    )
    return open_index(embed_table(request, choose_reporter(verbose)).location)
