"""The Python API: `import noduleclip as nc`. The commands and the explorer call the same workflows."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip.config import SOFTNESS_MM, CropConfig, ModelConfig, TrainConfig
from noduleclip.errors import UsageError
from noduleclip.io.index.base import Index as StoredIndex
from noduleclip.io.index.open import open_index as open_stored_index
from noduleclip.io.own_indexes import choose_slice_folders
from noduleclip.language.query import parse_query
from noduleclip.workflows.reporter import NoteCollector
from noduleclip.workflows.search import Answer, Searcher
from noduleclip.workflows.search_request import RowFilter, SearchRequest
from noduleclip.workflows.text_encoder import check_model

if TYPE_CHECKING:
    import pandas as pd

    from noduleclip.workflows.train import TrainResult

__all__ = ["Hits", "Index", "open_index", "parse_query", "read_crop", "train"]
_KEPT = 4  # sentences, filters and columns in memory: 4 N float32 or float64
_GALLERY_HITS = 24


@dataclass(frozen=True)
class Hits:
    """The best rows of an index for one sentence; shown as a gallery in a notebook.

    Attributes:
        answer: The ranking and its hits.
        notes: What the user should know about the result.
    """

    answer: Answer
    notes: tuple[str, ...]
    _index: "Index"

    @property
    def table(self) -> pl.DataFrame:
        """One row per hit, best first, with rank, scores, metadata, and `satisfies`: the columns of `topk.csv`."""
        return self.answer.hits

    @property
    def sentence(self) -> str:
        """What was asked."""
        return self.answer.ranking.question

    @property
    def description(self) -> str:
        """How the sentence was understood, in one line."""
        return self.answer.ranking.description

    def __len__(self) -> int:
        return self.table.height

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a pandas DataFrame, which needs the extra `pandas`.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            return self.table.to_pandas()
        except ModuleNotFoundError as error:
            raise UsageError(f'to_pandas needs {error.name}: pip install "noduleclip[pandas]"') from error

    def to_html(self) -> str:
        """Return a page with pictures of the first 24 hits, their outlines and sizes; no script, no network.

        A hit whose slice cannot be read is shown with the reason.
        """
        from noduleclip.report.gallery import GALLERY_FOV_MM, GALLERY_SIZE_PX, make_section, render_gallery
        from noduleclip.workflows.pictures import load_pictures

        first, index = replace(self.answer, hits=self.table.head(_GALLERY_HITS)), self._index
        folders = choose_slice_folders(index.stored, index.dicom_roots)
        pictures = load_pictures(index.stored, first.hits, folders, fov_mm=GALLERY_FOV_MM, size_px=GALLERY_SIZE_PX)
        return render_gallery([make_section(first, pictures)], "", None)

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" sandbox width="100%" height="640" style="border:0"></iframe>'


class Index:
    """An opened index that answers again and again; all answers are of the generation that was opened.

    Attributes:
        stored: The index in its folder or Lance store.
        dicom_roots: Folders that DICOM paths start from; none = those that `embed` read from, if it ran here.
    """

    def __init__(self, stored: StoredIndex, dicom_roots: Sequence[Path] = ()) -> None:
        self.stored, self.dicom_roots = stored, tuple(dicom_roots)

    def __len__(self) -> int:
        return self.stored.manifest.rows

    def __repr__(self) -> str:
        return f"<noduleclip.Index of {len(self):,} rows in {self.stored.location}>"

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32 unit rows, read into memory."""
        return np.asarray(self.stored.embeddings[0 : len(self)])

    @cached_property
    def table(self) -> pl.DataFrame:
        """The metadata of all N rows, in the order of the embeddings, with their number as `row`."""
        return self.stored.collect(self.stored.scan())

    def query(
        self,
        sentence: str | None = None,
        *,
        like: int | str | None = None,
        k: int = 10,
        where: str = "",
        patients: Sequence[str] | Path | None = None,
        unique: str | None = None,
        like_weight: float = 0.5,
        exact: bool = False,
    ) -> Hits:
        """Rank the rows by a sentence, by a nodule that they are to resemble, or by both.

        Args:
            sentence: Such as "a spiculated nodule larger than 10 mm".
            like: A row of the index, a slice of it, or a place in pixels of a DICOM file: "PATH:x,y".
            k: Hits.
            where: Condition on the columns, such as "slice_thickness < 2.5".
            patients: Ids of the only patients to rank, or a file with one a line.
            unique: Return only the best row of each nodule, slice, series or patient.
            like_weight: Weight of `like` beside a sentence, in [0, 1].
            exact: Rank all rows where a Lance store has a vector index.

        Raises:
            UsageError: The sentence or the condition cannot be parsed, or there is no such nodule.
            InputError: No row is left to rank.
            ArtefactError: The index is broken.
        """
        request = SearchRequest(
            sentences=() if sentence is None else (sentence,),
            like=None if like is None else str(like),
            like_weight=like_weight,
            k=k,
            filters=RowFilter(where=where, patients=patients),
            unique=unique,
            exact=exact,
        )
        return self._search(request)

    def fuse(
        self,
        sentence: str,
        *,
        alpha: float,
        k: int = 10,
        where: str = "",
        patients: Sequence[str] | Path | None = None,
        unique: str | None = None,
        softness_mm: float = SOFTNESS_MM,
    ) -> Hits:
        """Rank the rows by a sentence and by what was measured: `score = alpha * cosine + (1 - alpha) * rule`.

        Args:
            sentence: Such as "6-10 mm".
            alpha: Weight of the image, in [0, 1]; the rest is the weight of measured diameters and ratings.
            k: Hits.
            where: Condition on the columns.
            patients: Ids of the only patients to rank, or a file with one a line.
            unique: Return only the best row of each nodule, slice, series or patient.
            softness_mm: How far outside the interval a diameter still counts; 0 = not at all.

        Raises:
            UsageError: The sentence or the condition cannot be parsed.
            InputError: No row is left to rank.
            ArtefactError: The index is broken.
        """
        request = SearchRequest(
            sentences=(sentence,),
            k=k,
            filters=RowFilter(where=where, patients=patients),
            unique=unique,
            alpha=alpha,
            softness_mm=softness_mm,
        )
        return self._search(request)

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.stored, kept=0 if self.stored.has_vector_index else _KEPT)

    def _search(self, request: SearchRequest) -> Hits:
        collector = NoteCollector()
        ((answer,),) = self._searcher.search(request, collector)
        return Hits(answer, tuple(collector.notes), self)


def open_index(
    location: str | Path, *, model: str | Path | None = None, dicom_roots: Sequence[str | Path] = ()
) -> Index:
    """Open an index that `noduleclip embed` wrote.

    Args:
        location: A folder, or the address of a Lance store such as "lance://idx.store".
        model: Checkpoint that must have made the embeddings; None = not checked.
        dicom_roots: Folders that DICOM paths start from, for pictures; none = those that `embed` read from.

    Raises:
        ArtefactError: There is no index, it is broken, or another model made it.
    """
    stored = open_stored_index(str(location))
    check_model(stored, None if model is None else Path(model))
    return Index(stored, [Path(root) for root in dicom_roots])


def train(
    roi_csv: str | Path,
    *,
    train_patients: str | Path,
    val_patients: str | Path | None = None,
    out: str | Path,
    dicom_root: str | Path | None = None,
    model: ModelConfig | None = None,
    config: TrainConfig | None = None,
    pretrained: bool = False,
    device: str = "auto",
    cache_dir: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> "TrainResult":
    """Train an image and a text encoder; the same run as `noduleclip train`.

    Args:
        roi_csv: ROI table.
        train_patients: File of training patients, one id a line.
        val_patients: File of validation patients, which choose the best epoch; None = keep the last epoch.
        out: Folder for `clip_best.pth` and the records of the run.
        dicom_root: Folder that relative DICOM paths start from; None = the table's folder, else the working folder.
        model: Architecture; None = the defaults.
        config: Hyperparameters; None = the defaults.
        pretrained: Start from the backbone's published weights.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        cache_dir: Folder where cut crops are kept; None = the user's cache folder.
        resume: Continue the run in `out`.
        overwrite: Replace the run in `out`.
        on_epoch: Called after each epoch with its record, a line of `metrics.jsonl`.

    Returns:
        The run: `checkpoint`, `best_epoch`, `val_map` and `history`.

    Raises:
        UsageError: `out` holds a run already, or an argument is not allowed.
        InputError: The table or a patient list cannot be used.
    """
    from noduleclip.engine.training_loop import TrainingCallback
    from noduleclip.report.training_page import write_training_page
    from noduleclip.workflows.roi_crops import TableRequest
    from noduleclip.workflows.train import TrainRequest
    from noduleclip.workflows.train import train as run

    class _Callback(TrainingCallback):
        def on_epoch(self, record: dict[str, Any]) -> None:
            if on_epoch is not None:
                on_epoch(record)

    table = TableRequest(Path(roi_csv), _as_path(dicom_root), cache_dir=_as_path(cache_dir))
    request = TrainRequest(
        table=table, train_patients=Path(train_patients), val_patients=_as_path(val_patients), out=Path(out),
        model=model or ModelConfig(), config=config or TrainConfig(), pretrained=pretrained, device=device,
        resume=resume, overwrite=overwrite,
    )  # fmt: skip
    result = run(request, callback=_Callback())
    if result.is_main_process:
        write_training_page(result)
    return result


def read_crop(
    path: str | Path, center_xy_px: tuple[float, float], *, fov_mm: float = 48.0, size_px: int = 64
) -> NDArray[np.int16]:
    """Read the square of tissue around a point of a CT slice, as the image encoder sees it.

    Args:
        path: DICOM file of one slice.
        center_xy_px: Column and row of the centre, 0-based.
        fov_mm: Side of the square in millimetres.
        size_px: Side of the crop in pixels.

    Returns:
        (size_px, size_px) Hounsfield units; -1024 outside the image.

    Raises:
        SliceError: The file is not a readable CT slice, or the centre lies outside it.
        ConfigError: The size is not allowed.
    """
    from noduleclip.io.slice_crops import CutSettings, cut_crop

    return cut_crop(Path(path), center_xy_px, CutSettings.for_crop(CropConfig(fov_mm=fov_mm, size_px=size_px)))


def _as_path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
