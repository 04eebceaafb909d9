"""The result of a check, on stdout."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
from rich.filesize import decimal

from noduleclip.report.console import log_info, write_json_lines
from noduleclip.report.tables import choose_format, print_frame, print_records
from noduleclip.workflows.check import CheckResult

_BAR_WIDTH = 20


def report_check(result: CheckResult, output_format: str = "table", *, enforce_limit: bool = True) -> None:
    """Print the result of a check, and end the run where too many rows are unusable.

    Args:
        result: The result.
        output_format: "auto", "table", "csv" or "json".
        enforce_limit: Whether the limit of unusable rows counts.

    Raises:
        InputError: More rows are unusable than the request allows.
    """
    print_check(result.report, result.rejects_table, choose_format(output_format))
    if enforce_limit:
        result.enforce_reject_limit()
    log_info(result.summary)


def print_check(report: Mapping[str, Any], rejects: pl.DataFrame, form: str) -> None:
    """Print a report.

    Args:
        report: As `check.json` has it.
        rejects: The unusable rows.
        form: "table" for all of it in tables, "json" for all of it as one object, "csv" for the unusable rows.
    """
    if form == "json":
        write_json_lines([json.dumps(report, ensure_ascii=False)])
        return
    if form == "csv":
        print_frame(rejects, form)
        return
    parts = report["parts"]
    counts = [{name: value for name, value in part.items() if name != "sizes"} for part in parts]
    print_records(counts, form, Path(report["roi_csv"]).name)
    print_records(_list_sizes(parts), form, "diameters in mm")
    for name, title in (("rejected", "rows that cannot be used"), ("syntaxes", "how the pixels are compressed")):
        if report[name]:
            print_records(report[name], form, title)
    print_records([_describe_estimate(estimate) for estimate in report["estimates"]], form, "estimated work")


def _list_sizes(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a record per bin: the nodules of each part, and a bar for those of the first."""
    most = max(1, *parts[0]["sizes"].values())
    return [
        {
            "size": size,
            **{part["part"]: part["sizes"][size] for part in parts},
            " ": "▇" * round(_BAR_WIDTH * parts[0]["sizes"][size] / most),
        }
        for size in parts[0]["sizes"]
    ]


def _describe_estimate(estimate: Mapping[str, Any]) -> dict[str, str]:
    took = str(datetime.timedelta(seconds=round(estimate["seconds"])))
    return {"step": estimate["step"], "work": estimate["work"], "time": took, "disk": decimal(estimate["bytes"])}
