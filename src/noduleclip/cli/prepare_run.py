"""Running a `prepare` request and printing its result, for all sources."""

from typing import TYPE_CHECKING

from noduleclip.cli.prepare_options import SharedOptions

if TYPE_CHECKING:
    from noduleclip.workflows.prepare import PrepareResult
    from noduleclip.workflows.prepare_request import PrepareRequest


def run_prepare(request: "PrepareRequest", shared: SharedOptions) -> None:
    """Run a request, print its counts and the commands that come next."""
    from noduleclip.report.console import CONSOLE
    from noduleclip.report.preparation_page import render_preparation
    from noduleclip.workflows.prepare import prepare

    _report(prepare(request, CONSOLE, render_preparation), shared.output_format)


def _report(result: "PrepareResult", output_format: str) -> None:
    """Print the counts, what is odd, and the commands that come next."""
    from noduleclip import schema
    from noduleclip.report.console import log_info, log_warning
    from noduleclip.report.tables import choose_format, print_records
    from noduleclip.workflows.command_lines import format_command

    counts = [{"what": name, "count": count} for name, count in result.summary["counts"].items()]
    print_records(counts, choose_format(output_format))
    for remark in result.summary["remarks"]:
        log_warning(remark)
    if result.rejects.height:
        codes = ", ".join(f"{count:,} {code}" for code, count in result.summary["rejected"].items())
        listed = result.out / schema.REJECTS_CSV
        log_warning(f"{codes}; first: {result.rejects[0, schema.REJECT_REASON]}; all are in {listed}")
    root = {"--dicom-root": result.dicom_root if result.has_slices else "FOLDER"}
    test = result.out / schema.SPLITS_FOLDER / schema.TEST_PATIENTS if schema.TEST_PATIENTS in result.splits else None
    log_info(f"the table: {result.roi_csv}; its summary: {result.out / schema.PREPARE_PAGE}")
    log_info(f"next: {format_command('check', [result.roi_csv], root)}")
    embed = format_command("embed", [result.roi_csv, result.out / "index"], {**root, "--patients-file": test})
    log_info(f"then: {embed}")
    if result.nodules.height < result.rois.height:
        log_info(
            f"of the {result.rois.height:,} rows embed makes {result.nodules.height:,}, one per nodule, with the "
            "values of all readers; --unit outline keeps every row"
        )
    if not result.has_slices:
        log_info("the slices were not read: FOLDER is the one that holds PATIENT/STUDY/SERIES/FILE")
