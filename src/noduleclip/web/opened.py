"""One generation of an index, opened for the explorer."""

from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders
from noduleclip.web.explorer import Explorer
from noduleclip.web.slices import SliceReader


class Opened:
    """One generation of an index, and everything that answers from it.

    Attributes:
        explorer: Ranks its rows.
        slices: Reads their slices.
        folders: Where these may be read.
    """

    def __init__(self, index: Index, folders: SliceFolders) -> None:
        self.explorer, self.slices, self.folders = Explorer(index), SliceReader(index, folders), folders

    @property
    def generation(self) -> str:
        """Identifies this generation."""
        return self.explorer.index.generation
