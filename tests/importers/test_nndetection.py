"""nnDetection's results: its order of corners, its margin of a voxel, pickles that are not loaded."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from noduleclip.errors import InputError, NoduleclipError, UsageError
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.importers.nndetection import read_nndetection

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1002252872223"


def write_case(folder: Path, case: str, *boxes: tuple[list[float], float, int]) -> Path:
    content = {
        str(number): {"score": score, "label": label, "box": box} for number, (box, score, label) in enumerate(boxes, 1)
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case}_boxes.json"
    path.write_text(json.dumps(content, indent=4))
    return path


def make_box(mask_zyx: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[float]:
    """The box of a mask by nnDetection's own rule (`instances_to_boxes_np`)."""
    low, high = (part(np.argwhere(mask_zyx), axis=0) for part in (np.min, np.max))
    return [float(it) for it in (low[0] - 1, low[1] - 1, high[0] + 1, high[1] + 1, low[2] - 1, high[2] + 1)]


def test_a_box_holds_the_voxels_that_it_was_made_of(tmp_path: Path) -> None:
    mask = np.zeros((20, 64, 64), bool)
    mask[4:7, 20:31, 40:46] = True
    case = UID.replace(".", "_")
    found = read_nndetection(write_case(tmp_path, case, (make_box(mask), 0.75, 0)))
    (sphere,) = found.placed.spheres
    assert (sphere.series_uid, sphere.score, sphere.diameter_mm) == (UID, 0.75, None)
    assert sphere.pixel_place == PixelPlace((42.5, 25.0, 5.0), Coordinates.VOXEL, (6.0, 11.0, 3.0))


def test_bounds_without_fractions_are_right_on_average(tmp_path: Path) -> None:
    """`nndet_boxes2nii` cuts the fractions off, so its bounds lie half a voxel low on average."""
    random = np.random.default_rng(7)
    sides, middles = random.uniform(5, 25, (500, 3)), random.uniform(40, 200, (500, 3))
    low, high = middles - sides / 2 - 1, middles + sides / 2 + 1  # of the outermost voxels, and one voxel more
    boxes = np.stack([low[:, 0], low[:, 1], high[:, 0], high[:, 1], low[:, 2], high[:, 2]], axis=1)
    exported = [(list(map(int, box)), 0.5, 0) for box in boxes.tolist()]
    placed = read_nndetection(write_case(tmp_path, "a", *exported)).placed.spheres  # type: ignore[arg-type]
    found = np.array([it.pixel_place.position for it in placed if it.pixel_place])[:, ::-1]
    wide = np.array([it.pixel_place.sides for it in placed if it.pixel_place and it.pixel_place.sides])[:, ::-1]
    assert np.abs((found - middles).mean(axis=0)).max() < 0.05
    assert np.abs(found - middles).max() <= 0.5
    assert np.abs((wide - sides - 1).mean(axis=0)).max() < 0.1
    kept = read_nndetection(write_case(tmp_path / "b", "b", *[(box, 0.5, 0) for box in boxes.tolist()])).placed.spheres
    exact = np.array([it.pixel_place.position for it in kept if it.pixel_place])[:, ::-1]
    assert np.abs(exact - middles).max() < 1e-9, "an export with fractions is used as it is"


def test_a_folder_has_a_file_for_each_case(tmp_path: Path) -> None:
    write_case(tmp_path / "nii", "case_001", ([3, 10, 7, 20, 10, 20], 0.9, 0), ([3, 10, 7, 20, 30, 40], 0.2, 1))
    write_case(tmp_path / "nii", "case_002")
    (tmp_path / "nii/metrics.json").write_text("[]")
    found = read_nndetection(tmp_path)
    assert [(it.series_uid, it.score) for it in found.placed.spheres] == [("case_001", 0.9), ("case_001", 0.2)]
    assert found.placed.counts == {"images without a detection": 1}
    assert found.cases == 2
    assert [it.score for it in read_nndetection(tmp_path, labels=("1",)).placed.spheres] == [0.2]


def test_a_thin_box_is_a_voxel_thick(tmp_path: Path) -> None:
    found = read_nndetection(
        write_case(tmp_path, "a", ([3, 10, 4, 20, 10, 20], 0.9, 0), ([4, 10, 3, 20, 1, 9], 0.9, 0))
    )
    (sphere,), (rejected,) = found.placed.spheres, found.placed.rejected
    assert sphere.pixel_place is not None
    assert sphere.pixel_place.sides == (9.0, 9.0, 1.0)
    assert "box '2': read as xyzxyz, its sides are 7, 9 and -1 voxels; they must be positive" in rejected.reason


class Bomb:
    """Raises when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return exec, ("raise SystemExit('loaded')",)


@pytest.mark.parametrize("name", ["case_001_boxes.pkl", "folder"])
def test_pickles_are_not_loaded(tmp_path: Path, name: str) -> None:
    path = tmp_path / "case_001_boxes.pkl"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UsageError, match="nndet_boxes2nii TASK MODEL --threshold 0"):
        read_nndetection(tmp_path if name == "folder" else path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected an object of numbered boxes, found list"),
        ("{}", "no box in 1 files"),
        ("{", "not readable as JSON"),
        ('{"1": {"score": 1}}', "box '1': has no 'box' and 'score'"),
        ('{"1": {"score": 1, "box": [1, 2, 3]}}', "box '1': is not six numbers"),
        ('{"1": {"score": "1", "box": [1, 2, 3, 4, 5, 6]}}', "box '1': its score is no number"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "case_boxes.json"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_nndetection(path)


@pytest.mark.parametrize(("name", "message"), [("gone", "no such file or folder"), ("", "holds no CASE_boxes.json")])
def test_where_nothing_is_that_is_told(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(NoduleclipError, match=message):
        read_nndetection(tmp_path / name)


def test_one_broken_case_is_rejected_alone(tmp_path: Path) -> None:
    write_case(tmp_path, "a", ([3, 10, 7, 20, 10, 20], 0.9, 0))
    (tmp_path / "b_boxes.json").write_text('{"1": {}}')
    found = read_nndetection(tmp_path)
    assert len(found.placed.spheres) == 1
    assert [it.path.name for it in found.unread] == ["b_boxes.json"]
