"""Names of slices: SOP Instance UIDs, and of a frame of a multi-frame file its number, too."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pydicom

_MARK = "#"  # in no UID


def name_slice(sop_uid: str, frame: int) -> str:
    """Return the name of a slice in a catalogue.

    Args:
        sop_uid: SOP Instance UID of its file.
        frame: Its frame, from 1; also 1 in a file of one slice.

    Returns:
        The UID, for frames from 2 on with their number behind it.
    """
    return sop_uid if frame == 1 else f"{sop_uid}{_MARK}{frame}"


def find_sop_uid(name: str) -> str:
    """Return the SOP Instance UID in the name of a slice."""
    return name.partition(_MARK)[0]


def list_frames(reference: "pydicom.Dataset") -> list[int]:
    """Return the frames that a reference to an image names.

    Source:
        DICOM PS3.3 10.3, Image SOP Instance Reference Macro.
    """
    numbers: object = reference.get("ReferencedFrameNumber")
    return [] if numbers in (None, "") else [int(str(number)) for number in np.atleast_1d(np.array(numbers))]


def parse_reference(reference: "pydicom.Dataset") -> str:
    """Return the name of the slice that a reference is to; empty where it names none, or several frames."""
    frames = list_frames(reference) or [1]
    sop_uid = str(reference.get("ReferencedSOPInstanceUID") or "").strip()
    return name_slice(sop_uid, frames[0]) if sop_uid and len(frames) == 1 else ""
