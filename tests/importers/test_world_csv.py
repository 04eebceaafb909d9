"""Tables of places in mm: what can be meant is read, what cannot is refused by row and column."""

import re
from pathlib import Path

import pytest

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.world_csv import Coordinates, read_world_csv

NEEDED = ", where a number in (0, 100] mm is needed"
LUNA16 = "seriesuid,coordX,coordY,coordZ,diameter_mm"
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1002252872223"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "annotations.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"{LUNA16}\n{UID},-128.5,-175.25,-298.5,5.5\n",
        f"\ufeff{LUNA16}\r\n{UID},-128.5,-175.25,-298.5,5.5\r\n\r\n",
        f"X,Y,Z,Diameter_MM,SeriesUID\n-128.5, -175.25 ,-298.5,5.5, {UID} \n",
        f"class,z,y,x,diameter_mm,series_uid\n1,-298.5,-175.25,-128.5,5.5,{UID}\n",
    ],
    ids=["LUNA16", "BOM and CRLF", "other case and spaces", "other order and columns"],
)
def test_a_row_is_a_sphere(tmp_path: Path, content: str) -> None:
    assert read_world_csv(write(tmp_path, content)) == ([Sphere(UID, (-128.5, -175.25, -298.5), 5.5, name="row 1")], [])


def test_ras_is_turned_to_lps(tmp_path: Path) -> None:
    path = write(tmp_path, f"{LUNA16}\n{UID},1,2,3,4\n")
    assert read_world_csv(path, Coordinates.RAS)[0][0].center_mm == (-1.0, -2.0, 3.0)


def test_what_readers_said_is_taken_over(tmp_path: Path) -> None:
    header = "x,y,z,diameter_mm,seriesuid,patient_id,nodule_id,reader,malignancy,calcification"
    path = write(tmp_path, f"{header}\n1,2,3,4,{UID},P7,N2,2,5,\n1,2,3,4,{UID},,,,,6\n")
    first, second = read_world_csv(path)[0]
    assert (first.patient_id, first.nodule_id, first.reader, first.ratings) == ("P7", "N2", "2", {schema.MALIGNANCY: 5})
    assert (second.patient_id, second.ratings) == ("", {schema.CALCIFICATION: 6})


@pytest.mark.parametrize(
    ("row", "code", "reason"),
    [
        (f"{UID},1,,3,4", RejectCode.OUTSIDE, "row 1: x, y, z are 1, empty, 3, no place in mm"),
        (f"{UID},1,inf,3,4", RejectCode.OUTSIDE, "row 1: x, y, z are 1, inf, 3, no place in mm"),
        (f"{UID},1,2,3,", RejectCode.NO_DIAMETER, "row 1: diameter_mm is empty" + NEEDED),
        (f"{UID},1,2,3,0", RejectCode.NO_DIAMETER, "row 1: diameter_mm is 0" + NEEDED),
        (f"{UID},1,2,3,NaN", RejectCode.NO_DIAMETER, "row 1: diameter_mm is empty" + NEEDED),
        (" ,1,2,3,4", RejectCode.NO_SERIES, "row 1: names no series"),
    ],
)
def test_a_row_that_gives_none_is_told(tmp_path: Path, row: str, code: RejectCode, reason: str) -> None:
    path = write(tmp_path, f"{LUNA16}\n{row}\n{UID},1,2,3,4\n")
    spheres, (rejected,) = read_world_csv(path)
    assert [sphere.name for sphere in spheres] == ["row 2"]
    assert (rejected.code, rejected.reason) == (code, f"{path}: {reason}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (f"{LUNA16}\n", "has a header but no rows"),
        (f"{LUNA16}\n{UID},1,2,3,4\n".encode("utf-16"), "is encoded in UTF-16; save it as UTF-8"),
        (f"{LUNA16}\n\xe9,1,2,3,4\n".encode("latin-1"), "line 2 is not UTF-8"),
        (LUNA16.replace(",", ";") + f"\n{UID};1;2;3;4\n", "is separated by ';' or tabs"),
        (f"{LUNA16}\n{UID},1,2\n", "row 1 has 3 cells, the header has 5"),
        (f"{LUNA16},coordX\n{UID},1,2,3,4,5\n", "column 'coordX' stands twice in the header"),
        (f"{LUNA16},x\n{UID},1,2,3,4,5\n", "columns 'coordX' and 'x' mean the same; leave one of them out"),
        (f"{LUNA16.replace(',diameter_mm', '')}\n{UID},1,2,3\n", "no column for diameter_mm; needed are x, y, z"),
        (f"{LUNA16}\n{UID},1,2,3,6 mm\n", "row 1, column diameter_mm: '6 mm' is not a number"),
        (f'{LUNA16}\n{UID},"1,5",2,3,6\n', "row 1, column x: '1,5' is not a number"),
        (f"{LUNA16},margin\n{UID},1,2,3,4,3.67\n", "row 1, column margin: 3.67 is no rating"),
        (
            f"{LUNA16},texture\n{UID},1,2,3,4,6\n",
            "row 1, column texture: 6 is no rating; they are whole numbers from 1",
        ),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_world_csv(path)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such table of nodules"):
        read_world_csv(tmp_path / "none.csv")
