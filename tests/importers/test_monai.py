"""MONAI's data lists: boxes by any of its modes, and lists that are none."""

import json
import re
from pathlib import Path

import pytest

from noduleclip.errors import InputError, RejectCode
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.boxes import BoxMode
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.importers.image_names import name_images, name_series
from noduleclip.importers.monai import read_data_list

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1002252872223"


def write(folder: Path, content: object) -> Path:
    path = folder / "dataset_fold0.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(*boxes: object, image: object = f"{UID}/{UID}.nii.gz") -> dict[str, object]:
    return {"image": image, "box": list(boxes), "label": [0] * len(boxes)}


def test_the_lists_of_the_tutorial_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "training": [entry([-128.5, -175.25, -298.5, 5.5, 5.5, 5.5], [1, 2, 3, 4, 4, 4])],
            "validation": [entry(image="1.2.3.4.5.6.7.nii.gz"), entry([9, 8, 7, 3, 3, 3], image="case101.nii.gz")],
        },
    )
    found = read_data_list(path)
    assert found.spheres == [
        Sphere(UID, (-128.5, -175.25, -298.5), 5.5, name="training[0], box[0]"),
        Sphere(UID, (1.0, 2.0, 3.0), 4.0, name="training[0], box[1]"),
        Sphere("case101", (9.0, 8.0, 7.0), 3.0, name="validation[1], box[0]"),
    ]
    assert found.lists == {"training": [UID], "validation": ["1.2.3.4.5.6.7", "case101"]}
    assert found.rejected == []


@pytest.mark.parametrize(
    ("mode", "box"),
    [
        (BoxMode.CCCWHD, [10, 20, 30, 4, 6, 8]),
        (BoxMode.XYZWHD, [8, 17, 26, 4, 6, 8]),
        (BoxMode.XYZXYZ, [8, 17, 26, 12, 23, 34]),
        (BoxMode.XXYYZZ, [8, 12, 17, 23, 26, 34]),
        (BoxMode.XYXYZZ, [8, 17, 12, 23, 26, 34]),
    ],
)
def test_every_mode_gives_the_same_sphere(tmp_path: Path, mode: BoxMode, box: list[float]) -> None:
    found = read_data_list(write(tmp_path, {"training": [entry(box)]}), mode, Coordinates.RAS)
    assert found.spheres == [Sphere(UID, (-10.0, -20.0, 30.0), 6.0, name="training[0], box[0]")]


@pytest.mark.parametrize(
    ("image", "series"),
    [
        (f"subset0/{UID}.mhd", UID),
        (f"data\\{UID}\\image.nii.gz", UID),
        (f"{UID.replace('.', '_')}_0000.nii.gz", UID),
        (f"/data/{UID}/", UID),
        ("a/b/case 7.nii.gz", "case 7"),
        ("a/b/case 7.nrrd", "case 7"),
        ("", ""),
    ],
)
def test_an_image_names_its_series(image: str, series: str) -> None:
    assert name_series(image) == series


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ([1, 2, 3, 0, 4, 4], RejectCode.NO_DIAMETER),
        ([1, 2, 3, 4, 101, 4], RejectCode.NO_DIAMETER),
        ([1, 2, 1e300, 4, 4, 4], RejectCode.OUTSIDE),
        ([1, 2, 10**400, 4, 4, 4], RejectCode.OUTSIDE),
    ],
)
def test_a_box_that_gives_none_is_told(tmp_path: Path, box: list[float], code: RejectCode) -> None:
    found = read_data_list(write(tmp_path, {"training": [entry(box)]}))
    assert [(rejected.code, "training[0], box[0]: " in rejected.reason) for rejected in found.rejected] == [
        (code, True)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        (7, "is neither an object nor a list of images, but int"),
        ([], "none of its images has a box"),
        ([7], "[0]: has no 'image' with a path"),
        ({"fold": []}, "has none of the lists training, train, validation, val, valid, test, testing; found fold"),
        ({"training": {}}, "'training' is no list"),
        ({"training": [7]}, "training[0]: has no 'image' with a path"),
        ({"training": [entry(image=7)]}, "training[0]: has no 'image' with a path"),
        ({"training": [{"image": "a.mhd"}]}, "training[0]: 'box' is no list of boxes"),
        ({"training": [entry([1, 2, 3])]}, "training[0], box[0]: is not six numbers"),
        ({"training": [entry([1, 2, 3, 4, 4, "4"])]}, "training[0], box[0]: is not six numbers"),
        ({"training": [entry([1, 2, 3, 4, 4, True])]}, "training[0], box[0]: is not six numbers"),
        ({"training": [entry()]}, "none of its images has a box"),
    ],
)
def test_what_is_no_such_list_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_data_list(path)


def test_other_names_of_the_lists_are_read(tmp_path: Path) -> None:
    box = [1, 2, 3, 4, 4, 4]
    content = {"train": [entry(box)], "val": [entry(box, image="v.mhd")], "testing": [entry(box, image="t.mhd")]}
    found = read_data_list(write(tmp_path, content))
    assert found.lists == {"training": [UID], "validation": ["v"], "test": ["t"]}
    assert len(found.spheres) == 3
    assert found.remarks == []


def test_what_is_left_out_of_a_data_list_is_named(tmp_path: Path) -> None:
    box = [1, 2, 3, 4, 4, 4]
    content = {"training": [entry(box)], "test": ["a.nii.gz", {"image": "b.nii.gz"}], "fold_1": [entry(box)], "n": [1]}
    found = read_data_list(write(tmp_path, content))
    assert found.lists == {"training": [UID], "test": []}
    lists, images = found.remarks
    assert images == "2 images of its list test have no boxes and are left out"
    assert lists.startswith("its list 'fold_1' is left out, one of 1; lists are named training, train, ")


def test_images_of_one_name_are_told_apart_by_their_folders() -> None:
    images = ["/d/s1/ct.nii.gz", "/d/s2/ct.nii.gz", "x\\s2\\ct.nrrd", "/d/other.mha", f"/e/{UID}/ct.nii.gz"]
    assert list(name_images(images).values()) == ["s1/ct", "d/s2/ct", "x/s2/ct", "other", UID]


BOXES, SCORES = [[10.0, 20, 30, 4, 6, 8], [-1, -2, -3, 5, 4, 3]], [0.91, 0.25]
RESULTS = {
    "lung_nodule_ct_detection": [
        {
            "box": BOXES,
            "label": [0, 0],
            "label_scores": SCORES,
            "image": f"/datasets/LUNA16/{UID}.nii.gz",
        },
        {"box": [], "label": [], "label_scores": [], "image": "/datasets/1.2.3.4.5.6.7/1.2.3.4.5.6.7.nii.gz"},
    ],
    "luna16_testing.py": {
        "validation": [
            {"label": [0, 0], "box": BOXES, "score": SCORES, "image": f"{UID}/{UID}.mhd"},
            {"label": [], "box": [], "score": [], "image": "1.2.3.4.5.6.7.mhd"},
        ]
    },
    "torchvision's names": [
        {"boxes": BOXES, "labels": [0, 0], "scores": SCORES, "image": [UID]},
        {"boxes": [], "labels": [], "scores": [], "image": "1.2.3.4.5.6.7"},
    ],
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_read_as_detectors_write_them(tmp_path: Path, name: str) -> None:
    found = read_data_list(write(tmp_path, RESULTS[name]))
    assert [(it.series_uid, it.center_mm, it.diameter_mm, it.score) for it in found.spheres] == [
        (UID, (10.0, 20.0, 30.0), 6.0, 0.91),
        (UID, (-1.0, -2.0, -3.0), 5.0, 0.25),
    ]
    assert found.has_scores
    assert found.counts == {"images without a detection": 1}
    assert (found.rejected, found.remarks) == ([], [])


@pytest.mark.parametrize("box", ["pred_box", "pred_boxes"])
def test_of_true_and_predicted_boxes_the_predicted_have_the_scores(tmp_path: Path, box: str) -> None:
    predicted = {box: [[9, 8, 7, 3, 3, 3]], "pred_label": [2], "pred_score": [0.9]}
    found = read_data_list(write(tmp_path, [entry([1, 2, 3, 4, 4, 4]) | predicted]), labels=("2",))
    assert [(it.center_mm, it.diameter_mm, it.score) for it in found.spheres] == [((9.0, 8.0, 7.0), 3.0, 0.9)]


def test_a_result_of_one_image_is_read(tmp_path: Path) -> None:
    assert len(read_data_list(write(tmp_path, {"image": UID, "box": BOXES, "label_scores": SCORES})).spheres) == 2


def test_labels_choose_boxes(tmp_path: Path) -> None:
    path = write(tmp_path, [{"image": UID, "box": BOXES, "label": [0, 3], "score": SCORES}])
    everything = read_data_list(path)
    assert everything.remarks == ["its boxes have the labels '0' (1), '3' (1); all are used (--labels chooses)"]
    chosen = read_data_list(path, labels=("3",))
    assert [it.score for it in chosen.spheres] == [0.25]
    assert chosen.counts == {"boxes of other labels, left out": 1}
    with pytest.raises(
        InputError, match=r"none of its 2 boxes has a label of --labels; their labels are '0' \(1\), '3'"
    ):
        read_data_list(path, labels=("1",))


def test_boxes_in_voxels_wait_for_their_image(tmp_path: Path) -> None:
    path = write(tmp_path, [{"image": UID, "box": [[10, 20, 5, 210, 24, 9]], "score": [0.5]}])
    (sphere,) = read_data_list(path, BoxMode.XYZXYZ, Coordinates.VOXEL).spheres
    assert sphere.pixel_place == PixelPlace((110.0, 22.0, 7.0), Coordinates.VOXEL, (200.0, 4.0, 4.0))
    assert sphere.diameter_mm is None
    (rejected,) = read_data_list(path, BoxMode.XXYYZZ, Coordinates.VOXEL).rejected
    assert (
        "its sides are 10, 205 and -15 voxels; they must be positive; they do with --box-mode cccwhd or"
        in rejected.reason
    )


def test_a_poor_box_of_a_low_score_is_not_rejected(tmp_path: Path) -> None:
    boxes = [[1, 2, 3, 4, 4, 4], [1, 2, 3, 150, 4, 4], [1, 2, 3, 4, 0, 4]]
    path = write(tmp_path, [{"image": UID, "box": boxes, "score": [0.9, 0.1, 0.8]}])
    assert [len(read_data_list(path).rejected), len(read_data_list(path, min_score=0.5).rejected)] == [2, 1]
    assert read_data_list(path, min_score=0.5).counts == {"places below the score 0.5, left out": 1}


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1], "has 2 boxes and 1 scores ('score')"),
        (0.5, "has 2 boxes and no list of scores"),
        ([0.1, "high"], "box[1]: its score is no number"),
    ],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, scores: object, message: str) -> None:
    path = write(tmp_path, [{"image": UID, "box": BOXES, "score": scores}])
    with pytest.raises(InputError, match=re.escape(message)):
        read_data_list(path)


def test_a_score_that_is_not_finite_rejects_its_box(tmp_path: Path) -> None:
    found = read_data_list(write(tmp_path, [{"image": UID, "box": BOXES, "score": [float("nan"), 0.5]}]))
    assert [(it.code, "its score is not finite" in it.reason) for it in found.rejected] == [
        (RejectCode.BAD_NUMBER, True)
    ]
