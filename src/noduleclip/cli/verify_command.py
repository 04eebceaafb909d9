"""`noduleclip verify`."""

from noduleclip.cli import options


def verify(emb_dir: options.EmbDir) -> None:
    """Read all files of an index, whole, and compare them with the checksums that were recorded when it was written.

    Shards below the folder are compared, too. Ends with 4, and names the files, where any has changed.

    Example: noduleclip verify --emb-dir runs/first/test
    """
    from noduleclip.cli.retries import retry_replaced
    from noduleclip.cli.verifying import verify_index

    retry_replaced(lambda: verify_index(emb_dir))
