"""Hits of a search: a table, a gallery in a notebook, files for other tools."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from noduleclip.errors import UsageError
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import choose_slice_folders
from noduleclip.machine import install_command
from noduleclip.workflows.reporter import WarningReporter
from noduleclip.workflows.search_answer import Answer

if TYPE_CHECKING:
    import pandas as pd

_GALLERY_HITS = 24


@dataclass(frozen=True)
class Hits:
    """The best rows of an index for one sentence; shown as a gallery in a notebook.

    Attributes:
        answer: The ranking and its hits.
        notes: What the user should know about the result.

    Examples:
        >>> hits = nc.open_index("idx").query("> 6 mm", k=5)
        >>> best_mm = hits.table["diameter_mm"][0]
        >>> page = hits.to_html()
    """

    answer: Answer
    notes: tuple[str, ...]
    _index: Index
    _dicom_roots: Sequence[Path]

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

    @property
    def summary(self) -> str:
        """How many pass the cut-off: "37 of 417 nodules with probability >= 0.8"; empty without one."""
        return self.answer.ranking.summary

    def __len__(self) -> int:
        return self.table.height

    def __repr__(self) -> str:
        understood = "; ".join(filter(None, (self.description, self.summary)))
        return f"<noduleclip.Hits, {understood}>\n{self.table}"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a pandas DataFrame, which needs the extra `pandas`.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            return self.table.to_pandas()
        except ModuleNotFoundError as error:
            raise UsageError(f"to_pandas needs {error.name}: {install_command('pandas')}") from error

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write the hits for another tool, in the format that the ending of the file names.

        - `.mrk.json`: markups of 3D Slicer, a file for each series: `hits-1.mrk.json`, `hits-2.mrk.json`, … where
          there are several;
        - `.json`: COCO, with the slices as pictures in a folder beside it: `hits_images` beside `hits.json`;
        - `.dcm`: DICOM structured reports, numbered like markups, which need the extra `seg`;
        - `.xlsx`: Excel, which needs the extra `excel`;
        - `.parquet`: the table.

        Markups, COCO and reports need the DICOM slices of the hits. Issues a warning of hits whose slice cannot be
        read: they are left out.

        Args:
            path: The file.
            overwrite: Replace an export of this name that is already there.

        Returns:
            The files written, without pictures.

        Raises:
            UsageError: The ending is not known, a library is missing, or a file is already there.
            InputError: No slice of a hit can be read.
            OutputError: A file cannot be written.

        Examples:
            >>> hits = nc.open_index("idx").query("> 6 mm", k=5)
            >>> markups = hits.save("hits.mrk.json")
            >>> tables = hits.save("hits.parquet")
        """
        from noduleclip.workflows.export import export_hits
        from noduleclip.workflows.export_files import check_exports, need_places

        targets = check_exports("path", [Path(path)], replace=overwrite)
        folders = choose_slice_folders(self._index, self._dicom_roots) if need_places(targets) else None
        return [file.path for file in export_hits(targets, self._index, [self.answer], folders, WarningReporter())]

    def to_html(self) -> str:
        """Return a page with pictures of the first 24 hits, their outlines and sizes; no script, no network.

        A hit whose slice cannot be read is shown with the reason.
        """
        from noduleclip.report.gallery import (
            GALLERY_FOV_MM,
            GALLERY_SIZE_PX,
            count_slices,
            make_section,
            render_gallery,
        )
        from noduleclip.workflows.pictures import load_pictures

        first = replace(self.answer, hits=self.table.head(_GALLERY_HITS))
        pictures = load_pictures(
            self._index,
            first.hits,
            choose_slice_folders(self._index, self._dicom_roots),
            fov_mm=GALLERY_FOV_MM,
            size_px=GALLERY_SIZE_PX,
            most_slices=count_slices(len(first.hits)),
        )
        return render_gallery([make_section(first, pictures)], "", None)

    def _repr_html_(self) -> str:
        page = html.escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" sandbox width="100%" height="640" style="border:0"></iframe>'
