"""What a collection holds and the tool cannot use: a place of it, and why."""

from dataclasses import dataclass
from pathlib import Path

from noduleclip.errors import RejectCode


@dataclass(frozen=True)
class RejectedAnnotation:
    """A mark, or a file of marks, that gives no row.

    Attributes:
        path: The file.
        code: The reason in one word.
        reason: The reason in a sentence that names the file and the place in it.
    """

    path: Path
    code: RejectCode
    reason: str
