"""`noduleclip serve`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options, search_options
from noduleclip.errors import UsageError
from noduleclip.machine import install_command

ACCESS = "Access"


def serve(
    emb_dir: options.EmbDir,
    dicom_root: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder that relative DICOM paths start from; of an index that was made elsewhere no other is read. "
            "Repeatable. (default: where embed found the slices, if the index was made here)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    model: search_options.IndexModel = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; other than this machine's own it needs --token.", rich_help_panel=ACCESS
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.", rich_help_panel=ACCESS)
    ] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            help="What a browser must know, 16 characters or more without blanks. Safer in NODULECLIP_SERVE_TOKEN.",
            rich_help_panel=ACCESS,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name by which browsers know this machine; repeatable.", rich_help_panel=ACCESS),
    ] = None,
) -> None:
    """Explore an index in a browser: type a sentence, see how it is read, what it finds, and the slices around it.

    Needs the extra web: pip install "noduleclip[web]". Ctrl-C ends it.

    Example: noduleclip serve index
    """
    from noduleclip.report.console import CONSOLE, log_info

    try:
        from noduleclip.web.opened import Opened
        from noduleclip.web.serving import ServeOptions
        from noduleclip.web.serving import serve as serve_index
    except ModuleNotFoundError as error:
        library = str(error.name).split(".")[0]
        if library not in ("starlette", "uvicorn", "anyio", "h11"):
            raise
        raise UsageError(f"serve needs {library}: {install_command('web')}") from error
    from noduleclip.cli.slice_folders import settle_slice_folders
    from noduleclip.workflows.stored_index import open_stored_index

    wanted = ServeOptions(host, port, token, allow_host or ())

    def open_explorer(ask: bool = False) -> Opened:
        index = open_stored_index(emb_dir, model, CONSOLE)
        return Opened(index, settle_slice_folders(index, dicom_root or (), ask=ask))

    try:
        serve_index(
            open_explorer(ask=True), open_explorer, wanted, lambda address: log_info(f"open {address} ; Ctrl-C ends it")
        )
    except KeyboardInterrupt:
        log_info("ended")
