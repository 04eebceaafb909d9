"""What all `prepare` requests share: settings, and the reading of the headers below a folder."""

import abc
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from noduleclip.importers.annotations import Annotations
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.catalogue_scan import read_catalogue
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.volume_catalogue import recognise_derived
from noduleclip.io.output_folders import locking, refuse_link
from noduleclip.workflows.reporter import Reporter
from noduleclip.workflows.roi_crops import count_workers

_CATALOGUE_FOLDER: Final = ".catalogue"


@dataclass(frozen=True, kw_only=True)
class PrepareRequest(abc.ABC):
    """The settings that all collections share; a subclass for each kind of source loads its annotations.

    Attributes:
        data_root: Folder of the images, at any depth; None = the slices are not read.
        out: Folder to write.
        diameter_kind: Measure of the diameters: a `DiameterKind`, or the name of another one for given diameters; empty
            = as the source says, else "unknown".
        relative_paths: Write DICOM paths relative to the data root.
        max_rejects: Share of annotations without a row above which the run fails, in [0, 1].
        limit: Use the annotations of the first series only; None = all.
        workers: Processes that read files, or "auto".
        seed: Seed of the splits.
        overwrite: Replace results.
        series: Pattern with * and ? of the Series Instance UID, series description or kernel of the reconstructions to
            prefer where there are several; None = by the rule alone.
    """

    data_root: Path | None
    out: Path
    diameter_kind: str = DiameterKind.IN_SLICE
    relative_paths: bool = False
    max_rejects: float = 0.01
    limit: int | None = None
    workers: str = "auto"
    seed: int = 0
    overwrite: bool = False
    series: str | None = None

    @abc.abstractmethod
    def load(self, reporter: Reporter) -> tuple[Catalogue, Annotations]:
        """Load the slices and their annotations.

        Raises:
            NoduleclipError: Anything that a user can cause.
        """

    def load_catalogue(
        self, data_root: Path, reporter: Reporter, *, cache_name: str = _CATALOGUE_FOLDER, needs_ct: bool = True
    ) -> Catalogue:
        """Read the headers below a folder, except those that an earlier run has read.

        Args:
            data_root: The folder.
            reporter: Receives messages and progress.
            cache_name: Folder below `out` of the headers that were read.
            needs_ct: Whether a folder without CT is refused.

        Raises:
            InputError: There is no such folder, or it has no CT slice.
            UsageError: No series is of the pattern.
        """
        cache = self.out / cache_name
        refuse_link(cache)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locking(cache, reporter.warning))  # removes partial files of a killed run

            def start(files: int, known: int) -> Callable[[int], None]:
                if files or known:  # else it holds volumes only
                    reporter.info(f"{data_root}: {files:,} files to read, {known:,} known from an earlier run")
                return stack.enter_context(reporter.progress("reading headers", files, "files"))

            catalogue = read_catalogue(
                data_root,
                cache,
                workers=count_workers(self.workers),
                is_left_out=recognise_derived(self.out),
                needs_ct=needs_ct,
                on_start=start,
            )
        if catalogue.copies:
            reporter.warning(f"{catalogue.copies:,} files have the SOP Instance UID of another one and are left out")
        catalogue = replace(catalogue, pattern=self.series or "")
        if needs_ct:
            catalogue.check_pattern()
        return catalogue
