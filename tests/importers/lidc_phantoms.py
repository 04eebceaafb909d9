"""Series of tiny CT slices and annotation files as LIDC-IDRI has them, in both layouts that circulate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import uid

from fuzz import sound

SQUARE = ((4, 4), (10, 4), (10, 10), (4, 10), (4, 4))  # LIDC's curves end where they began
HOLE = ((6, 6), (8, 6), (8, 8), (6, 8), (6, 6))
RATINGS = {
    "subtlety": "5", "internalStructure": "1", "calcification": "6", "sphericity": "3", "margin": "4",
    "lobulation": "2", "spiculation": "1", "texture": "5", "malignancy": "4",
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A curve on slice `k` of its series."""

    k: int
    points: Sequence[tuple[int, int]] = SQUARE
    inclusion: str = "TRUE"


@dataclass(frozen=True)
class Series:
    """A series: its number makes its UIDs, `heights_mm` are its slices upwards."""

    number: int
    patient: str = "LIDC-IDRI-0001"
    heights_mm: Sequence[float] = (-10.0, -7.5, -5.0)
    thickness_mm: float = 2.5
    spacing_yx_mm: tuple[float, float] = (0.8, 0.7)

    @property
    def uid(self) -> str:
        return f"1.2.3.{self.number}"

    def sop_uid(self, k: int) -> str:
        return f"{self.uid}.{k + 1}"

    def folder(self, root: Path) -> Path:
        return root / self.patient / f"1.2.9.{self.number}" / self.uid

    def write(self, root: Path, **changes: object) -> list[Path]:
        """Write the slices; the order of the file names is not that of the heights."""
        paths = []
        self.folder(root).mkdir(parents=True, exist_ok=True)
        for k, z_mm in enumerate(self.heights_mm):
            stored = sound.make_stored()
            header = sound.make_slice(stored, uid.ExplicitVRLittleEndian, **self.describe(k, z_mm) | changes)
            header.PixelData = stored.tobytes()
            path = self.folder(root) / f"{(k * 7 + 3) % 10:06}.dcm"
            header.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    def describe(self, k: int, z_mm: float) -> dict[str, object]:
        return {
            "SOPInstanceUID": self.sop_uid(k), "SeriesInstanceUID": self.uid,
            "StudyInstanceUID": f"1.2.9.{self.number}",
            "PatientID": self.patient, "ImagePositionPatient": [-10, -20, z_mm], "Manufacturer": "Phantom",
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": self.thickness_mm,
            "PixelSpacing": list(self.spacing_yx_mm), "Modality": "CT",
        }  # fmt: skip


@dataclass(frozen=True)
class Nodule:
    """What one reader made of a nodule."""

    curves: Sequence[Curve]
    ratings: dict[str, str] = field(default_factory=lambda: dict(RATINGS))
    name: str = "Nodule 001"


def make_xml(
    series: Series,
    readers: Iterable[Sequence[Nodule]],
    *,
    root: str = "LidcReadMessage",
    date: str = "2008-08-18",
    head: str = "",
    non_nodules: int = 0,
) -> str:
    """Return an annotation file; `head` stands before its root."""
    annotations = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion>{''.join(_write(series, n) for n in nodules)}"
        + "<nonNodule><nonNoduleID>1</nonNoduleID></nonNodule>" * non_nodules
        + "</readingSession>"
        for nodules in readers
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<{root} xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{series.uid}</SeriesInstanceUid><DateService>{date}</DateService>"
        f"<TimeService>02:05:51</TimeService></ResponseHeader>{annotations}</{root}>"
    )


def _write(series: Series, nodule: Nodule) -> str:
    rated = "".join(f"<{tag}>{text}</{tag}>" for tag, text in nodule.ratings.items())
    rois = "".join(_roi(series, curve) for curve in nodule.curves)
    characteristics = f"<characteristics>{rated}</characteristics>" if rated else ""
    return f"<unblindedReadNodule><noduleID>{nodule.name}</noduleID>{characteristics}{rois}</unblindedReadNodule>"


def _roi(series: Series, curve: Curve) -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in curve.points)
    z_mm = series.heights_mm[curve.k] if curve.k < len(series.heights_mm) else 99.0
    return (
        f"<roi><imageZposition>{z_mm:.6f} </imageZposition><imageSOP_UID>{series.sop_uid(curve.k)}</imageSOP_UID>"
        f"<inclusion>{curve.inclusion}</inclusion>{edges}</roi>"
    )


PATIENTS = tuple(Series(number, f"LIDC-IDRI-{number:04}") for number in range(1, 5))
NODULE = Nodule([Curve(0), Curve(1)])
OTHER = Nodule([Curve(0, [(x + 1, y) for x, y in SQUARE])], RATINGS | {"malignancy": "2"})


def add(root: Path, series: Series, readers: Sequence[Sequence[Nodule]], name: str = "069.xml") -> Path:
    """Write a series with its annotation beside it."""
    series.write(root)
    return annotate(series.folder(root) / name, series, readers)


def annotate(path: Path, series: Series, readers: Sequence[Sequence[Nodule]]) -> Path:
    """Write an annotation file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(make_xml(series, readers), encoding="utf-8")
    return path


def write_patients(root: Path) -> Path:
    """Write four patients, two readers each."""
    for series in PATIENTS:
        add(root, series, [[NODULE], [OTHER]])
    return root
