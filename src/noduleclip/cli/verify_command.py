"""`noduleclip verify`."""

from noduleclip.cli import options


def verify(emb_dir: options.EmbDir) -> None:
    """Compare all files of an index with their recorded checksums.

    Shards below the folder are compared, too. Ends with 4 and the names of the files if any has changed.

    Example: noduleclip verify runs/first/test
    """
    from noduleclip.cli.retries import retry_replaced
    from noduleclip.report.console import CONSOLE, log_info
    from noduleclip.workflows.verify import verify as verify_index

    def run() -> None:
        for index in verify_index(emb_dir, CONSOLE):
            if index.rows_compared:
                log_info(f"{index.location}: all files are those that were written ({index.bytes:,} bytes)")
                continue
            log_info(
                f"{index.location}: the text encoder is the one that was written; {index.rows:,} rows are in order, "
                "all unit vectors"
            )
            log_info(
                "note: this store has no checksums of its rows: whether their values are those that were written is "
                "not known"
            )

    retry_replaced(run)
