"""`noduleclip doctor`."""

from noduleclip.cli import options


def doctor(cache_dir: options.CacheDir = None, output_format: options.OutputFormat = "auto") -> None:
    """Look at this installation: versions, device, decoders, completion, the crop cache; ends with 4 if any is broken.

    Example: noduleclip doctor
    """
    from noduleclip.cli.diagnosis import run_doctor

    run_doctor(cache_dir, output_format)
