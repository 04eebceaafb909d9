"""`query.json` beside `topk.csv`: how the hits were found, and `--rerun`, which finds them again."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from noduleclip import __version__, schema
from noduleclip.errors import ArtefactError, UsageError

if TYPE_CHECKING:  # every command imports this module through its options
    from noduleclip.io.index.base import Index

_COMMAND, _INDEX, _GENERATION, _DATE = "command", "index", "generation", "date"
_OUTPUTS: Final = ("out", "overwrite", "html", "contact_sheet", "export", "rerun")
"""Settings that say where results go: a repetition has its own."""


@dataclass(frozen=True)
class SearchRecord:
    """What a repetition needs of the search that it repeats.

    Attributes:
        path: The file.
        generation: The index as it was.
        date: When it was searched.
    """

    path: Path
    generation: str
    date: str


def write_record(
    out: Path, index: "Index", command: str, readings: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> None:
    """Write `query.json` beside the hits.

    Args:
        out: Folder of `topk.csv`.
        index: What was searched.
        command: query or fuse.
        readings: Each sentence, how it was read, and the number of hits.
        settings: All options by name.

    Raises:
        OutputError: The file cannot be written.
    """
    import numpy as np
    import polars as pl

    from noduleclip.io.artefacts import write_json

    libraries = {"numpy": np.__version__, "polars": pl.__version__}  # not by importlib.metadata, which takes 40 ms
    write_json(
        out / schema.SEARCH_RECORD,
        {
            _COMMAND: command,
            _DATE: datetime.now(UTC).isoformat(timespec="seconds"),
            "sentences": list(readings),
            _INDEX: {
                "path": _make_absolute(index.location),
                _GENERATION: index.generation,
                "rows": index.manifest.rows,
            },
            "model": {"id": index.manifest.model_id, "checkpoint_sha256": index.manifest.checkpoint_sha256},
            schema.RUN_SETTINGS: {name: _as_json(name, value) for name, value in settings.items()},
            "versions": {"noduleclip": __version__, "python": platform.python_version(), **libraries},
        },
    )


def _as_json(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_as_json(name, one) for one in value]
    if isinstance(value, Path):
        return str(value.resolve())
    return _make_absolute(value) if name in ("emb_dir", "val_emb_dir") and value is not None else value


def _make_absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).resolve())


def read_record(folder: Path) -> SearchRecord:
    """Read what `--rerun` compares.

    Raises:
        ArtefactError: The folder has no record of a search, or one that cannot be read.
    """
    record = _read(folder)
    index = record[_INDEX]
    return SearchRecord(folder / schema.SEARCH_RECORD, str(index.get(_GENERATION)), str(record.get(_DATE)))


def _read(folder: Path) -> dict[str, Any]:
    from noduleclip.io.artefacts import read_json

    path = folder / schema.SEARCH_RECORD
    if not path.is_file():
        raise ArtefactError(f"{path}: no such file; --rerun takes a folder that query or fuse wrote with --out")
    record = read_json(path)
    if not isinstance(record.get(schema.RUN_SETTINGS), dict) or not isinstance(record.get(_INDEX), dict):
        raise ArtefactError(f"{path}: is no record of a search")
    return record


def load_settings_of(context: typer.Context, folder: Path | None) -> Path | None:
    """Use the settings of an earlier search as defaults: the callback of `--rerun`.

    Raises:
        ArtefactError: The folder has no record of a search that can be read.
        UsageError: It is of the other command.
    """
    if folder is None or context.resilient_parsing:
        return folder
    record = _read(folder)
    if record.get(_COMMAND) != context.command.name:
        raise UsageError(f"--rerun {folder}: is of noduleclip {record.get(_COMMAND)}; give it to that command")
    from noduleclip.cli.settings import use_settings

    settings = {name: value for name, value in record[schema.RUN_SETTINGS].items() if name not in _OUTPUTS}
    use_settings(context, settings, folder / schema.SEARCH_RECORD)
    return folder
