"""LIDC's annotation files: XML with the annotations of up to four readers of one CT, as published with LIDC-IDRI."""

import hashlib
import stat
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import RejectCode
from noduleclip.importers.annotations import (
    LAST_RATING,
    LIDC_NAMES,
    ODD_RATINGS,
    OUTLINED,
    Contour,
    Outline,
    RejectedAnnotation,
)
from noduleclip.io.job_pool import WorkerCrashed, run_jobs

_LARGEST_BYTES: Final = 8 * 2**20  # LIDC's largest has a tenth of that; a tree of it takes thirty times as much
_MOST_TAGS: Final = 500_000  # LIDC's largest file has a seventh of that; an element takes 300 bytes
_LONGEST_NAME: Final = 100  # LIDC's longest has 22 characters
_LONGEST_ATTRIBUTE: Final = 1000
_FARTHEST_MM: Final = 1e5
_FARTHEST_PX: Final = 2**13
_WIDEST_PX: Final = 2**11  # LIDC's widest curve is 75 pixels across, and its longest has 311 points
_MOST_POINTS: Final = 2**11
_CT_ROOT, _XRAY_ROOT = "LidcReadMessage", "IdriReadMessage"
SMALL_NODULES: Final = "nodules under 3 mm, a point each"
NON_NODULES: Final = "annotations of non-nodules"
XRAY_FILES: Final = "files of chest X-ray reads"
COPIED_FILES: Final = "files that are copies of another one"
CT_FILES: Final = "files of CT reads"
READINGS: Final = "readers' sessions"


@dataclass(frozen=True)
class LidcFile:
    """One annotation file.

    Attributes:
        path: The file.
        series_uid: Series Instance UID of the CT; empty for a chest X-ray, and where the file names none.
        serviced: Date and time of the service, sortable; empty where the file has none.
        outlines: Outlines of all readers.
        counts: Numbers of each kind in the file.
        digest: Hash of the content: both layouts that circulate may lie in one folder.
    """

    path: Path
    series_uid: str
    serviced: str
    outlines: tuple[Outline, ...]
    counts: Counter[str] = field(default_factory=Counter)
    digest: bytes = b""


@dataclass(frozen=True)
class LidcReads:
    """The annotation files of a collection, one per series.

    Attributes:
        files: The files that are used, by path.
        rejected: Files that cannot be read.
        remarks: Oddities of the collection, a sentence each.
        counts: Numbers of each kind in the files that are used.
    """

    files: list[LidcFile]
    rejected: list[RejectedAnnotation]
    remarks: list[str]
    counts: Counter[str]

    def list_absent(self, series_uids: Set[str]) -> list[RejectedAnnotation]:
        """Report the files whose series is not among those here."""
        return [
            RejectedAnnotation(
                file.path, RejectCode.NO_SERIES, f"{file.path}: {_name_series(file)} has no DICOM here; get it"
            )
            for file in self.files
            if file.series_uid not in series_uids
        ]


def read_lidc_xml(
    paths: Sequence[Path],
    workers: int = 1,
    on_file: Callable[[int], None] = lambda _: None,
    find_series: Callable[[str], str | None] = lambda _: None,
) -> LidcReads:
    """Read annotation files.

    Of several files of one series the one serviced last is used, of those the last by path: LIDC replaced some.

    Args:
        paths: XML files, whichever kind.
        workers: Processes.
        on_file: Called with the files read since the last call.
        find_series: Returns the series of a slice by its SOP Instance UID, None where the slice is not here. An outline
            belongs to the series of its slices, even where its file names another one.
    """
    read: list[LidcFile] = []
    rejected: list[RejectedAnnotation] = []
    for path, result in run_jobs(parse_lidc_file, paths, workers):
        if isinstance(result, WorkerCrashed):
            reason = f"{path}: the process that reads it ends; leave the file out"
            result = RejectedAnnotation(path, RejectCode.UNREADABLE_FILE, reason)
        (read if isinstance(result, LidcFile) else rejected).append(result)  # type: ignore[arg-type]
        on_file(1)
    distinct = {file.digest: file for file in sorted(read, key=lambda file: file.path, reverse=True)}
    settled = [_settle(file, find_series) for file in sorted(distinct.values(), key=lambda file: file.path)]
    files, remarks = _choose(settled)
    moved = [file.path for file in settled if file.series_uid != distinct[file.digest].series_uid]
    if moved:
        fact = f"{len(moved)} annotation file(s) do not name the series of their slices, which is used"
        remarks.append(f"{fact}; first: {moved[0]}")
    counts: Counter[str] = Counter()
    for file in (*files, *(file for file in distinct.values() if file.counts[XRAY_FILES])):
        counts += file.counts
    if len(distinct) < len(read):
        counts[COPIED_FILES] = len(read) - len(distinct)
    return LidcReads(files, sorted(rejected, key=lambda one: one.path), remarks, counts)


def _settle(file: LidcFile, find_series: Callable[[str], str | None]) -> LidcFile:
    """Return a file with the series that its slices belong to."""
    found = [_find_series(outline, find_series) for outline in file.outlines]
    series_uid = next(filter(None, found), file.series_uid)
    outlines = [replace(it, series_uid=uid or series_uid) for it, uid in zip(file.outlines, found, strict=True)]
    return replace(file, series_uid=series_uid, outlines=tuple(outlines))


def _find_series(outline: Outline, find_series: Callable[[str], str | None]) -> str | None:
    """Return the series of the first slice of an outline that is here; None where none is."""
    of_slices = (find_series(contour.sop_uid) for contour in outline.contours if contour.sop_uid)
    return next(filter(None, of_slices), None)


def _name_series(file: LidcFile) -> str:
    return f"its series {file.series_uid}" if file.series_uid else "it names no series, and that of its slices"


def _choose(read: Sequence[LidcFile]) -> tuple[list[LidcFile], list[str]]:
    by_series: dict[str, list[LidcFile]] = defaultdict(list)
    for file in read:
        if not file.counts[XRAY_FILES]:
            by_series[file.series_uid or str(file.path)].append(file)
    remarks = []
    for series_uid, files in by_series.items():
        if len(files) > 1:
            last = max(files, key=lambda file: (file.serviced, str(file.path)))
            remarks.append(f"{len(files)} files of series {series_uid}: {last.path.name} is used, it was serviced last")
            by_series[series_uid] = [last]
    return sorted((files[0] for files in by_series.values()), key=lambda file: file.path), remarks


def parse_lidc_file(path: Path) -> LidcFile | RejectedAnnotation:
    """Read one annotation file; return the reason if it cannot be used."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            return RejectedAnnotation(path, RejectCode.UNREADABLE_FILE, f"{path}: is no regular file; leave it out")
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        return RejectedAnnotation(path, RejectCode.UNREADABLE_FILE, f"{path}: cannot be read ({error.strerror})")
    if len(content) > _LARGEST_BYTES:
        fact = f"is larger than the {_LARGEST_BYTES // 2**20} MB that such a file may have"
        return RejectedAnnotation(path, RejectCode.TOO_LARGE, f"{path}: {fact}; leave it out")
    if content.count(b"<") > _MOST_TAGS:
        fact = f"has over the {_MOST_TAGS:,} tags that such a file may have"
        return RejectedAnnotation(path, RejectCode.TOO_LARGE, f"{path}: {fact}; leave it out")
    try:
        return parse_lidc_xml(content, path)
    except (ET.ParseError, ValueError, RecursionError) as error:
        return RejectedAnnotation(
            path, RejectCode.BAD_XML, f"{path}: is no annotation file of LIDC ({error}); leave it out"
        )


def parse_lidc_xml(content: bytes, path: Path) -> LidcFile:
    """Read the content of an annotation file.

    Raises:
        ValueError: It is no such file.
        ET.ParseError: It is no XML.
    """
    text, digest = content.decode("utf-8-sig"), hashlib.sha256(content).digest()
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # LIDC's have none; they are never resolved
        raise ValueError("it has a document type")
    root = _parse_elements(text)
    if root.tag == _XRAY_ROOT:
        return LidcFile(path, "", "", (), Counter({XRAY_FILES: 1}), digest)
    if root.tag != _CT_ROOT:
        raise ValueError(f"its root is {root.tag[:40]!r}, not {_CT_ROOT}")
    series_uid = root.findtext(".//SeriesInstanceUid", "").strip()
    if not series_uid and not any(uid.text and uid.text.strip() for uid in root.iter("imageSOP_UID")):
        raise ValueError("it has no SeriesInstanceUid, and names no slice")
    counts: Counter[str] = Counter({CT_FILES: 1})
    outlines = []
    for reader, session in enumerate(root.iterfind("readingSession"), 1):
        counts[READINGS] += 1
        counts[NON_NODULES] += len(session.findall("nonNodule"))
        for nodule in session.iterfind("unblindedReadNodule"):
            contours = tuple(_parse_contours(nodule))
            if not any(contour.includes and len(contour.points_px) > 1 for contour in contours):
                counts[SMALL_NODULES] += 1
                continue
            ratings, odd = _parse_ratings(nodule)
            counts[ODD_RATINGS] += odd
            counts[OUTLINED] += 1
            name = nodule.findtext("noduleID", "").strip()
            outlines.append(Outline(series_uid, str(reader), name, contours, ratings))
    serviced = " ".join(root.findtext(f".//{tag}", "").strip() for tag in ("DateService", "TimeService"))
    return LidcFile(path, series_uid, serviced, tuple(outlines), counts, digest)


def _parse_elements(text: str) -> ET.Element:
    """Return the root element, without attributes, comments and namespace prefixes.

    ElementTree's own parser writes the URI of a namespace before each name: a long URI and many names take gigabytes.

    Args:
        text: XML without document type.

    Raises:
        ValueError: A name or an attribute is too long.
        ET.ParseError: It is no XML.
    """
    tree = ET.TreeBuilder()

    def start(name: str, attributes: dict[str, str]) -> None:
        for one in (name, *attributes):
            if len(one) > _LONGEST_NAME:
                raise ValueError(f"a name in it has {len(one):,} characters, {_LONGEST_NAME} at most are read")
        for value in attributes.values():
            if len(value) > _LONGEST_ATTRIBUTE:
                raise ValueError(f"an attribute has {len(value):,} characters, {_LONGEST_ATTRIBUTE:,} at most are read")
        tree.start(name.rpartition(":")[2], {})

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: tree.end(name.rpartition(":")[2])
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ET.ParseError(str(error)) from error
    return tree.close()


def _parse_contours(nodule: ET.Element) -> Iterator[Contour]:
    for roi in nodule.iterfind("roi"):
        edges = roi.findall("edgeMap")
        if not edges:
            continue
        if len(edges) > _MOST_POINTS:
            raise ValueError(f"a curve has {len(edges):,} points, {_MOST_POINTS:,} at most are read")
        points_px = np.array(
            [[_parse_number(edge, tag, _FARTHEST_PX) for tag in ("xCoord", "yCoord")] for edge in edges]
        )
        width_px = float(np.ptp(points_px, axis=0).max())
        if width_px > _WIDEST_PX:
            raise ValueError(f"a curve is {width_px:g} pixels across, {_WIDEST_PX:,} at most are read")
        yield Contour(
            points_px=_open_curve(points_px),
            z_mm=_parse_number(roi, "imageZposition", _FARTHEST_MM, needed=False),
            sop_uid=roi.findtext("imageSOP_UID", "").strip(),
            includes=roi.findtext("inclusion", "TRUE").strip().upper() != "FALSE",
        )


def _parse_number(element: ET.Element, tag: str, farthest: float, *, needed: bool = True) -> float:
    text = element.findtext(tag, "").strip()
    number = float(text) if text else float("nan")
    if not abs(number) < farthest and (needed or text):
        raise ValueError(f"{tag} is {text[:20]!r}")
    return number


def _open_curve(points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the last vertex where it is the first one again."""
    closed = len(points_px) > 1 and bool((points_px[0] == points_px[-1]).all())
    return points_px[:-1] if closed else points_px


def _parse_ratings(nodule: ET.Element) -> tuple[dict[str, int], int]:
    """Return the ratings on their scales, and how many are off it."""
    ratings, odd = {}, 0
    for name, tag in LIDC_NAMES.items():
        text = nodule.findtext(f"characteristics/{tag}", "").strip()
        if not text:
            continue
        if text.isdecimal() and 1 <= int(text) <= LAST_RATING[name]:
            ratings[name] = int(text)
        else:
            odd += 1
    return ratings, odd
