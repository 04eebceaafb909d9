"""Patients of volumes, whose files name none."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from noduleclip.errors import UsageError
from noduleclip.io.roi_table import LIDC_PATIENT


@dataclass(frozen=True)
class VolumePatients:
    """Finds the patient of a volume.

    Attributes:
        root: Folder that paths are taken relative to.
        listed: Patient by series, as `--patients` lists them.
        pattern: Regular expression whose first group is the patient in a relative path; None = not asked for.
    """

    root: Path
    listed: Mapping[str, str] = field(default_factory=dict)
    pattern: re.Pattern[str] | None = None

    def find(self, series_uid: str, path: Path) -> str:
        """Return the listed patient, else LIDC's number in the path, else what the pattern finds; empty for none."""
        if series_uid in self.listed:
            return self.listed[series_uid]
        below = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        found = re.search(LIDC_PATIENT, below.as_posix())
        if found is None and self.pattern is not None:
            found = self.pattern.search(below.as_posix())
        return (found.group(1) or "").strip() if found is not None else ""


def remark_unknown(series_uids: Collection[str]) -> list[str]:
    """Return a sentence on series whose patients are not known; none without such series."""
    if not series_uids:
        return []
    remark = (
        f"the patients of {len(series_uids)} series are not known, so each counts as a patient of its own; two series "
        "of one patient may come to lie in two parts of the split (--patients lists them, --patient-pattern finds "
        "them in paths)"
    )
    return [remark]


def compile_patient_pattern(text: str) -> re.Pattern[str] | None:
    """Compile `--patient-pattern`; an empty one is none.

    Raises:
        UsageError: It is no regular expression, or has no group.
    """
    if not text:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--patient-pattern: {text[:80]!r} is no regular expression: {error}") from error
    if not pattern.groups:
        raise UsageError(
            f"--patient-pattern: {text[:80]!r} has no group; put the part that is the patient in parentheses, as in "
            "'(s[0-9]+)/'"
        )
    return pattern
