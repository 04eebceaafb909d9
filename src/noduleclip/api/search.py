"""Opened indexes."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip.api.hits import Hits
from noduleclip.config import ALPHA, SOFTNESS_MM
from noduleclip.io.index.base import Index as StoredIndex
from noduleclip.workflows.reporter import NoteCollector, WarningReporter
from noduleclip.workflows.search import Searcher
from noduleclip.workflows.search_request import RowFilter, SearchRequest, choose_k
from noduleclip.workflows.stored_index import open_stored_index

_KEPT = 4  # sentences, filters and columns in memory: 4 N float32 or float64


class Index:
    """An opened index that answers again and again; all answers are of the generation that was opened.

    Attributes:
        stored: The index in its folder or Lance store.
        dicom_roots: Folders that DICOM paths start from; none = those that `embed` read from, if it ran here.

    Examples:
        >>> index = nc.open_index("idx")
        >>> assert index.embeddings.shape[0] == index.table.height == len(index)
    """

    def __init__(self, stored: StoredIndex, dicom_roots: Sequence[Path] = ()) -> None:
        self.stored, self.dicom_roots = stored, tuple(dicom_roots)

    def __len__(self) -> int:
        return self.stored.manifest.rows

    def __repr__(self) -> str:
        rows = "nodules" if self.stored.manifest.is_of_nodules else "rows"
        return f"<noduleclip.Index of {len(self):,} {rows} in {self.stored.location}>"

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
        k: int | Literal["auto", "all"] | None = "auto",
        where: str = "",
        patients: Sequence[str] | Path | None = None,
        unique: str | None = None,
        like_weight: float = 0.5,
        min_probability: float | None = None,
        exact: bool = False,
        free_text: bool = False,
    ) -> Hits:
        """Rank the rows by a sentence, by a nodule that they are to resemble, or by both.

        Args:
            sentence: Such as "a spiculated nodule larger than 10 mm".
            like: A row of the index, a slice of it, or a place in pixels of a DICOM file: "PATH:x,y".
            k: Hits; "all" or None = all; "auto" = 10, or all that pass `min_probability`.
            where: Condition on the columns, such as "slice_thickness < 2.5".
            patients: Ids of the only patients to rank, or a file with one a line.
            unique: Return only the best row of each nodule, slice, series or patient.
            like_weight: Weight of `like` beside a sentence, in [0, 1].
            min_probability: Smallest share of readers, in [0, 1], who are expected to agree with the sentence; how well
                such probabilities hold is in the model card, docs/models/lidc.md.
            exact: Rank all rows where a Lance store has a vector index.
            free_text: Rank by the words of a sentence even if neither a size nor a rating was understood.

        Raises:
            UsageError: The sentence or the condition cannot be parsed, nothing of the sentence was understood, or there
                is no such nodule.
            InputError: No row is left to rank.
            ArtefactError: The index is broken.

        Examples:
            >>> hits = nc.open_index("idx").query("> 4 mm", where="diameter_mm < 20", unique="patient")
            >>> alike = nc.open_index("idx").query(like=0, k=3)
            >>> sure = nc.open_index("idx").query("> 4 mm", min_probability=0.5)
            >>> count = sure.summary
        """
        request = SearchRequest(
            sentences=() if sentence is None else (sentence,),
            like=None if like is None else str(like),
            like_weight=like_weight,
            k=choose_k(k, has_cut_off=min_probability is not None),
            filters=RowFilter(where=where, patients=patients),
            unique=unique,
            min_probability=min_probability,
            exact=exact,
            free_text=free_text,
        )
        return self._search(request)

    def fuse(
        self,
        sentence: str,
        *,
        alpha: float = ALPHA,
        k: int | Literal["auto", "all"] | None = "auto",
        where: str = "",
        patients: Sequence[str] | Path | None = None,
        unique: str | None = None,
        softness_mm: float = SOFTNESS_MM,
        rule: Literal["measured", "estimated"] = "measured",
        min_score: float | None = None,
        free_text: bool = False,
    ) -> Hits:
        """Rank the rows by a sentence and by what was measured: `score = alpha * probability + (1 - alpha) * rule`.

        Args:
            sentence: Such as "6-10 mm".
            alpha: Weight of the image, in [0, 1]; the rest is the weight of measured diameters and ratings.
            k: Hits; "all" or None = all; "auto" = 10, or all that pass `min_score`.
            where: Condition on the columns.
            patients: Ids of the only patients to rank, or a file with one a line.
            unique: Return only the best row of each nodule, slice, series or patient.
            softness_mm: How far outside the interval a diameter still counts; 0 = not at all.
            rule: "measured", or "estimated" to weigh estimates where no diameter or rating was measured.
            min_score: Smallest score of a hit, in [0, 1].
            free_text: Rank by the words of a sentence even if neither a size nor a rating was understood.

        Raises:
            UsageError: The sentence or the condition cannot be parsed, or nothing of the sentence was understood.
            InputError: No row is left to rank.
            ArtefactError: The index is broken.

        Examples:
            >>> hits = nc.open_index("idx").fuse("6-10 mm", alpha=0.3, k=5)
        """
        request = SearchRequest(
            sentences=(sentence,),
            k=choose_k(k, has_cut_off=min_score is not None),
            filters=RowFilter(where=where, patients=patients),
            unique=unique,
            alpha=alpha,
            softness_mm=softness_mm,
            rule=rule,
            min_score=min_score,
            free_text=free_text,
        )
        return self._search(request)

    def describe(self, *, where: str = "", patients: Sequence[str] | Path | None = None) -> pl.DataFrame:
        """Describe the nodules by what their images show: diameter with its interval, ratings, and words.

        Args:
            where: Condition on the columns, such as "estimated_malignancy >= 4".
            patients: Ids of the only patients to describe, or a file with one a line.

        Returns:
            A row per nodule, in the order of the index: the columns of `estimates.csv`.

        Raises:
            UsageError: The condition cannot be parsed.
            InputError: No row passes the filters.
            ArtefactError: The index is broken.

        Examples:
            >>> nodules = nc.open_index("idx").describe(where="diameter_mm > 4")
            >>> sizes = nodules.select("estimated_diameter_mm", "estimated_diameter_low_mm", "description")
        """
        from noduleclip.workflows.describe import DescribeRequest, describe_index

        request = DescribeRequest(filters=RowFilter(where=where, patients=patients))
        return describe_index(self.stored, request).table

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self.stored, kept=0 if self.stored.has_vector_index else _KEPT)

    def _search(self, request: SearchRequest) -> Hits:
        collector = NoteCollector()
        ((answer,),) = self._searcher.search(request, collector)
        return Hits(answer, tuple(collector.notes), self.stored, self.dicom_roots)


def open_index(
    location: str | Path, *, model: str | Path | None = None, dicom_roots: Sequence[str | Path] = ()
) -> Index:
    """Open an index that `noduleclip embed` wrote.

    Args:
        location: A folder, or the address of a Lance store such as "lance://idx.store".
        model: Checkpoint that must have made the embeddings; None = not checked.
        dicom_roots: Folders that DICOM paths start from, for pictures and exports; none = those that `embed` read from.

    Issues a warning where the index is one of outlines that an earlier version made.

    Raises:
        ArtefactError: There is no index, it is broken, or another model made it.

    Examples:
        >>> index = nc.open_index("idx")
    """
    stored = open_stored_index(location, None if model is None else Path(model), WarningReporter())
    return Index(stored, [Path(root) for root in dicom_roots])
