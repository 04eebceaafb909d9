"""The table of hits or of described nodules as a Parquet file, its columns as they are."""

import io
from collections.abc import Iterator
from pathlib import Path

from noduleclip.exporters.findings import Export, ExportFile


def render(export: Export, path: Path) -> Iterator[ExportFile]:
    """Make the file."""
    file = io.BytesIO()
    export.table.write_parquet(file)
    yield ExportFile(path, file.getvalue(), export.table.height)
