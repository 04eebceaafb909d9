"""Write docs/reference from the commands' help and the schema. A test compares what this gives with what is there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from noduleclip import schema
from noduleclip.cli import app
from noduleclip.errors import RejectCode

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/make_reference.py: change the help texts or the schema, not this page. -->\n"
TABLE_COLUMNS = tuple(dict.fromkeys((*schema.REQUIRED_COLUMNS, *schema.NUMBER_COLUMNS, *schema.TEXT_COLUMNS)))
HIT_COLUMNS = (
    schema.QUERY, schema.RANK, schema.DICOM_PATH, schema.PATIENT_ID, schema.DIAMETER_MM, schema.SIMILARITY,
    schema.COSINE, schema.RULE, schema.SCORE, schema.SATISFIES, schema.ROW, schema.CSV_ROW, schema.CENTER_X,
    schema.CENTER_Y,
)  # fmt: skip


def describe_commands() -> str:
    """Give the page of all commands and options."""
    group: Any = typer.main.get_command(app)
    pages = [NOTE, "# Commands\n"]
    for name, command in group.commands.items():
        pages.append(f"## noduleclip {name}\n\n{command.help}\n")
        pages.append(_table(("option", "value", "default", "what"), map(_describe_option, command.params)))
    return "\n".join(pages)


def _describe_option(option: Any) -> tuple[str, ...]:
    names = ", ".join(f"`{text}`" for text in (*option.opts, *option.secondary_opts))
    kind = "" if option.is_flag else f"`{option.display_type(typer.Context(typer.main.get_command(app)))}`"
    default = (
        "required"
        if option.required
        else ""
        if option.default is None or option.default is False
        else f"`{option.default}`"
    )
    return names, kind.replace("|", "\\|"), default, str(option.help).replace("|", "\\|")


_REJECTS = (
    f"`{schema.REJECTS_CSV}`",
    "rows that could not be used, if any: "
    + ", ".join(f"`{c}`" for c in (schema.CSV_ROW, schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON)),
)


def describe_files() -> str:
    """Give the page of all files and their columns."""
    meaning = schema.COLUMN_MEANINGS
    needed = dict.fromkeys(schema.REQUIRED_COLUMNS, "required")
    columns = ((f"`{name}`", needed.get(name, ""), meaning[name]) for name in TABLE_COLUMNS)
    hits = ((f"`{name}`", meaning[name]) for name in HIT_COLUMNS)
    return "\n".join(
        [
            NOTE,
            "# Files\n",
            "## The ROI table\n\nCSV in UTF-8 with commas and decimal points, one row per outline. Other columns are\n"
            "left out of the index unless `embed --keep NAME` asks for them.\n",
            _table(("column", "", "what"), columns),
            "## Patient lists\n\nOne patient id a line; blank lines and lines that start with `#` are skipped.\n"
            f"`split` writes `{schema.TRAIN_PATIENTS}`, `{schema.VAL_PATIENTS}` and `{schema.TEST_PATIENTS}`.\n",
            "## What train writes\n",
            _table(
                ("file", "what"),
                (
                    (f"`{schema.BEST_CHECKPOINT}`", "image encoder, text encoder, vocabulary and configuration of the best epoch; loads with `weights_only=True`"),
                    (f"`{schema.LAST_CHECKPOINT}`", "the state after the last whole epoch, for `--resume`"),
                    (f"`{schema.METRICS_LOG}`", "a JSON object per epoch: loss, validation AP, rate"),
                    (f"`{schema.RUN_RECORD}`", "arguments, versions, data fingerprint, git state, timings; `--config` accepts it"),
                    _REJECTS,
                ),
            ),
            "## What embed writes\n\nThe folder is self-contained: a query needs no checkpoint, no table and no torch.\n",
            _table(
                ("file", "what"),
                (
                    (f"`{schema.EMBEDDINGS}`", "(N, emb) float32 unit rows"),
                    (f"`{schema.META}`", "N rows in the same order: the known columns of the table but the outlines, and the kept ones"),
                    (f"`{schema.TEXT_TOWER}`", "the text encoder for ONNX Runtime, with vocabulary, scale and bias in its metadata"),
                    (f"`{schema.INDEX_MANIFEST}`", "schema version, model id, configuration, row count, checksums; written last"),
                    _REJECTS,
                ),
            ),
            f"## {schema.TOP_K_CSV}\n\nWhat `query` and `fuse` write with `--out`, and print when piped. These columns, then the\n"
            "other columns of the index.\n",
            _table(("column", "what"), hits),
            "## Reject codes\n\n" + ", ".join(f"`{code}`" for code in sorted(RejectCode)) + "\n",
            "## Exit codes\n",
            _table(
                ("code", "meaning"),
                (("0", "done"), ("2", "usage"), ("3", "input data"), ("4", "artefact or model"), ("130", "interrupted"), ("1", "a defect of ours, with its traceback")),
            ),
        ]
    )  # fmt: skip


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines) + "\n"


PAGES = {"commands.md": describe_commands, "files.md": describe_files}

if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for page, describe in PAGES.items():
        (REFERENCE / page).write_text(describe(), encoding="utf-8")
        print(REFERENCE / page)
