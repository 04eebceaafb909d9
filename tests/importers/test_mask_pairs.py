"""Which mask is of which image: the layouts of published collections and of programs, and what is unclear."""

import random
from pathlib import Path, PurePath

import pytest

from noduleclip.errors import InputError, RejectCode
from noduleclip.importers.mask_pairs import (
    ImageName,
    Pairs,
    name_image,
    name_series,
    pair_by_name,
    read_pairs,
    tell_apart,
)

UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"


def name_all(*paths: str) -> list[ImageName]:
    """Images by path; one without an ending is a DICOM series in that folder."""
    return [
        name_image(path.split(".")[0], PurePath(path), path)
        if "." in path
        else name_series(f"{UID}.{number}", PurePath(path).parts, path)
        for number, path in enumerate(paths)
    ]


def pair(images: list[ImageName], *masks: str) -> Pairs:
    return pair_by_name([(Path("/masks") / mask, PurePath(mask)) for mask in masks], images)


LAYOUTS = {
    "the same path": (["a/x.nii.gz", "b/x.nii.gz"], {"b/x.nrrd": ("b/x", "1"), "a/x.mha": ("a/x", "1")}),
    "MSD and Decathlon": (["lung_001.nii.gz", "lung_003.nii.gz"], {"lung_003.nii.gz": ("lung_003", "1")}),
    "nnU-Net": (["case_1_0000.nii.gz", "case_12_0000.nii.gz"], {"case_1.nii.gz": ("case_1_0000", "1")}),
    "TotalSegmentator, folders of images": (
        ["s0001/ct.nii.gz", "s0002/ct.nii.gz"],
        {"s0002/segmentations/lung_nodules.nii.gz": ("s0002/ct", "lung_nodules")},
    ),
    "TotalSegmentator, folders of masks": (
        ["s0001.nii.gz", "s0010.nii.gz"], {"s0010/lung_nodules.nii.gz": ("s0010", "lung_nodules")},
    ),
    "TotalSegmentator on DICOM": (
        ["P1/CT", "P2/CT"], {"P2/lung_nodules.nii.gz": (f"{UID}.1", "lung_nodules")},
    ),
    "LNDb": (
        ["LNDb-0001.mhd", "LNDb-0002.mhd"],
        {"LNDb-0001_rad1.mhd": ("LNDb-0001", "rad1"), "LNDb-0001_rad3.mhd": ("LNDb-0001", "rad3")},
    ),
    "names that begin with another name": (
        ["LIDC-IDRI-0001.nii.gz", "LIDC-IDRI-0001_R_1.nii.gz"],
        {"LIDC-IDRI-0001_R_1_mask.nii.gz": ("LIDC-IDRI-0001_R_1", "mask")},
    ),
    "3D Slicer": (["P1/CT.nrrd", "P2/CT.nrrd"], {"P1/Segmentation.seg.nrrd": ("P1/CT", "Segmentation")}),
    "DICOM by UID": (["P1/S1", "P2/S1"], {f"{UID}.1.nii.gz": (f"{UID}.1", "1")}),
    "DICOM by folder": (["LIDC-IDRI-0001/CT", "LIDC-IDRI-0002/CT"], {"LIDC-IDRI-0002.nii.gz": (f"{UID}.1", "1")}),
    "a folder per reader": (
        ["case1.nii.gz", "case2.nii.gz"],
        {
            "ann/case1.nii.gz": ("case1", "ann"), "ben/case1.nii.gz": ("case1", "ben"),
            "ben/case2.nii.gz": ("case2", "1"),
        },
    ),
    "names before the image's": (["0001.nii.gz"], {"mask_0001.nii.gz": ("0001", "1")}),
    "two names before": (
        ["0001.nii.gz"], {"gt_0001.nii.gz": ("0001", "gt_0001"), "seg-0001.nrrd": ("0001", "seg-0001")},
    ),
    "image and mask in one folder each": (
        ["p1/image.nii.gz", "p2/image.nii.gz"], {"p1/mask.nii.gz": ("p1/image", "mask")},
    ),
    "image_… and mask_…": (["p1_ct.nii.gz", "p2_ct.nii.gz"], {"p2_mask.nii.gz": ("p2_ct", "mask")}),
    "other case": (["CASE1.NII.GZ"], {"case1.nii.gz": ("CASE1", "1")}),
    "one image": (["scan.nii.gz"], {"lung_nodules.nii.gz": ("scan", "lung_nodules")}),
    "one image, a folder of masks": (
        ["scan.nii.gz"],
        {"out/nodules.nii.gz": ("scan", "nodules"), "out/lesions.nii.gz": ("scan", "lesions")},
    ),
    "beside another file in the folder": (
        ["s1/ct.nii.gz", "s1/ct_soft_0001.nii.gz"], {"s1/segmentations/nodules.nii.gz": ("s1/ct", "nodules")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    images, expected = LAYOUTS[layout]
    found = pair(name_all(*images), *expected)
    assert not found.rejected
    assert {str(one.mask.relative_to("/masks")): (one.series_uid, one.reader) for one in found.found} == expected


@pytest.mark.parametrize(
    ("images", "mask", "message"),
    [
        (
            ["a/x.nii.gz", "b/x.nii.gz"],
            "x.nii.gz",
            "may be of 2 images, such as a/x.nii.gz, b/x.nii.gz; name its image",
        ),
        (["P1/S1", "P1/S2"], "P1.nii.gz", "may be of 2 images, such as P1/S1, P1/S2"),
        (["a.nii.gz", "b.nii.gz"], "c.nii.gz", "no image has its name, nor that of its folder; name its image with"),
        (["lung_001.nii.gz", "b.nii.gz"], "lung_0011.nii.gz", "no image has its name"),
    ],
)
def test_unclear_masks_are_told(images: list[str], mask: str, message: str) -> None:
    (rejected,) = pair(name_all(*images), mask).rejected
    assert rejected.code is RejectCode.NO_IMAGE
    assert f"/masks/{mask}: {message}" in rejected.reason


def test_a_mask_of_another_image_is_not_given_to_the_only_one() -> None:
    found = pair(name_all("a.nii.gz"), "a.nii.gz", "b.nii.gz")
    assert [one.mask.name for one in found.found] == ["a.nii.gz"]
    assert len(found.rejected) == 1


def test_images_and_masks_in_one_folder_are_told_apart() -> None:
    files = [
        *("s1/ct.nii.gz", "s1/segmentations/lung.nii.gz", "s1/segmentations/lung_nodules.nii.gz"),
        *("t/lung.nii.gz", "t/lung_nodules.nii.gz", "t/heart_atrium_left.nii.gz"),
        *("n/p_0000.nii.gz", "n/p.nii.gz", "l/L.mhd", "l/L_rad1.mhd", "l/L_rad2.mhd"),
    ]
    images = {"s1/ct.nii.gz", "n/p_0000.nii.gz", "l/L.mhd"}
    assert tell_apart([PurePath(file) for file in files]) == {PurePath(file) for file in images}


def test_a_table_of_pairs_names_readers_patients_and_nodules(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("Image,Mask,reader,patient_id,nodule_id\nx,m1,A,P,3\nx,m2,,P,\nx,m1,B,P,3\ny,m1,,,\nx,m9,,,\n")
    pairs = read_pairs(
        table, lambda cell: cell if cell == "x" else None, lambda cell: Path(cell) if cell in ("m1", "m2") else None
    )
    assert [(one.mask.name, one.reader, one.patient_id, one.nodule_id) for one in pairs.found] == [
        ("m1", "A", "P", "3"), ("m2", "1", "P", ""),
    ]  # fmt: skip
    assert [one.reason.removeprefix(f"{table}: ") for one in pairs.rejected] == [
        "row 3: 'm1' is in an earlier row; leave one of them out",
        "row 4: there is no image 'y' below --images",
        "row 5: there is no mask 'm9' below --masks",
    ]


def test_a_table_without_masks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("image,label\na,b\n")
    with pytest.raises(InputError, match="needs the columns image and mask, has no mask"):
        read_pairs(tmp_path / "pairs.csv", str, Path)


def find_plainly(stem: str, images: list[ImageName]) -> set[str]:
    """The images that a mask may be of by its name alone, each of them compared."""
    folded = stem.casefold()
    starts = {one.series_uid: [name for name in one.names if folded == name] for one in images}
    if not any(starts.values()):
        begins = {
            one.series_uid: [
                name for name in one.names if len(folded) > len(name) + 1 and folded.startswith(name)
                and folded[len(name)] in "_-. "
            ]
            for one in images
        }  # fmt: skip
        longest = max((len(name) for names in begins.values() for name in names), default=0)
        starts = {uid: [name for name in names if len(name) == longest] for uid, names in begins.items()}
    return {uid for uid, names in starts.items() if names}


@pytest.mark.parametrize("seed", range(20))
def test_the_index_of_names_finds_what_comparing_all_of_them_does(seed: int) -> None:
    pick = random.Random(seed)

    def make_name() -> str:
        return "".join(pick.choices("abA_- ", k=pick.randint(1, 5))).strip() or "a"

    images = name_all(*{f"{name}.nii.gz" for name in (make_name() for _ in range(12))})
    for stem in {make_name() for _ in range(40)}:
        expected = find_plainly(stem, images)
        pairs = pair(images, f"{stem}.nrrd", "far/z.nrrd")
        found = [one.series_uid for one in pairs.found]
        assert found == list(expected) if len(expected) == 1 else not found, (stem, expected)


def test_a_name_that_is_longer_in_lower_case_keeps_the_name_of_its_reader() -> None:
    (found,) = pair(name_all("Größe.nii.gz", "b.nii.gz"), "Größe_Rad1.nii.gz").found
    assert (found.series_uid, found.reader) == ("Größe", "Rad1")
