"""`noduleclip doctor`."""

from noduleclip.cli import options


def doctor(cache_dir: options.CacheDir = None, output_format: options.OutputFormat = "auto") -> None:
    """Examine this installation: versions, device, decoders, completion, crop cache. Ends with 4 if a part is broken.

    Example: noduleclip doctor
    """
    from dataclasses import asdict

    from noduleclip.errors import ArtefactError
    from noduleclip.report.tables import choose_format, print_records
    from noduleclip.workflows.doctor import diagnose

    findings = diagnose(cache_dir)
    print_records([asdict(finding) for finding in findings], choose_format(output_format))
    broken = next((finding for finding in findings if finding.remedy), None)
    if broken is not None:
        raise ArtefactError(f"{broken.what}: {broken.found}; {broken.remedy}")
