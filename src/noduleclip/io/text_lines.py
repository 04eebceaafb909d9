"""Lists in text files, one sentence or patient id a line, with an upper limit on lines and bytes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from noduleclip.errors import InputError

MOST_LINES: Final = 1_000_000
MOST_BYTES: Final = 1 << 25


def read_lines(path: Path, what: str) -> Iterator[str]:
    """Load the lines of a UTF-8 text file, trimmed, without blank ones and those that start with `#`.

    Args:
        path: The file.
        what: What its lines are, for messages.

    Yields:
        Each line.

    Raises:
        InputError: The file is larger, or has more lines, than a list may have.
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: is larger than the {MOST_BYTES >> 20} MB that {what} may have; split it")
    text = content.decode("utf-8")
    del content
    count = 0
    for found in re.finditer(r"[^\n]+", text):  # `splitlines` of a whole file takes ten times its size
        for line in found.group().replace("\ufeff", "").splitlines():  # files put together may each begin with one
            trimmed = line.strip()
            if not trimmed or trimmed.startswith("#"):
                continue
            count += 1
            if count > MOST_LINES:
                raise InputError(f"{path}: has more than {MOST_LINES:,} {what}; split it")
            yield trimmed
