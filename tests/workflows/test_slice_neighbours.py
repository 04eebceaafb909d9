"""Slices of a reconstruction in a folder or a file, from the feet to the head, and no others."""

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from enhanced_ct import enhance, make_group
from noduleclip.phantom.patients import PhantomConfig, make_phantoms
from noduleclip.workflows import slice_neighbours
from noduleclip.workflows.slice_neighbours import find_stack, read_slices


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """The slices of a phantom, from the feet to the head."""
    make_phantoms(tmp_path / "phantoms", PhantomConfig(patients=1, seed=3, matrix_px=96))
    return sorted((tmp_path / "phantoms").rglob("*.dcm"))


def change(path: Path, copy: str, **values: object) -> Path:
    """Write a slice once more, with other header values."""
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    out = path.with_name(copy)
    dataset.save_as(out)
    return out


def test_a_stack_is_the_series_in_its_order(series: list[Path]) -> None:
    folder = series[0].parent
    series[0].rename(folder / "zz.dcm")
    stack = find_stack(read_slices(folder), series[2], None)
    assert [one.path for one in stack] == [folder / "zz.dcm", *series[1:]]
    positions = [float(pydicom.dcmread(one.path).ImagePositionPatient[2]) for one in stack]
    assert [one.z_mm for one in stack] == positions == sorted(positions)


def test_another_series_orientation_or_grid_is_left_out(series: list[Path]) -> None:
    folder, count = series[0].parent, len(series)
    change(series[1], "a.dcm", SeriesInstanceUID="1.2.3")
    change(series[1], "b.dcm", ImageOrientationPatient=[1, 0, 0, 0, 0.98, 0.199])
    change(series[1], "c.dcm", PixelSpacing=[0.5, 0.5])
    change(series[1], "d.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    change(series[1], "e.dcm", ImagePositionPatient=None)
    change(series[1], "f.dcm", Modality="MR")
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "below").mkdir()
    shutil.copy(series[0], folder / "below" / "g.dcm")
    found = read_slices(folder)
    assert len(find_stack(found, series[1], None)) == count
    assert find_stack(found, folder / "notes.txt", None) == []


def test_of_two_files_at_one_position_the_nodules_own_stays(series: list[Path]) -> None:
    copy = change(series[1], "00000.dcm", SOPInstanceUID="1.2.3")
    for own in (copy, series[1]):
        stack = find_stack(read_slices(series[0].parent), own, None)
        assert len(stack) == len(series)
        assert stack[1].path == own


def test_two_reconstructions_of_a_series_are_not_mixed(series: list[Path]) -> None:
    sharp = []
    for number, path in enumerate(series):
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        place = [float(x), float(y), float(z) + 0.5 * (number % 2)]  # at the same places, and between them
        sharp.append(change(path, f"b{path.name}", ConvolutionKernel="B70f", ImagePositionPatient=place))
    found = read_slices(series[0].parent)
    assert [one.path for one in find_stack(found, series[1], None)] == series
    assert [one.path for one in find_stack(found, sharp[1], None)] == sharp


def test_a_change_of_thickness_along_the_scan_continues_it(series: list[Path]) -> None:
    for path in series[2:]:
        change(path, path.name, SliceThickness=5.0)
    found = read_slices(series[0].parent)
    for own in (series[0], series[-1]):
        assert [one.path for one in find_stack(found, own, None)] == series


def test_files_that_may_not_be_read_and_huge_folders_are_not(
    series: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = series[0].parent
    assert len(read_slices(folder, lambda file: not file.endswith(series[0].name))) == len(series) - 1
    monkeypatch.setattr(slice_neighbours, "MOST_FILES", len(series) - 1)
    assert read_slices(folder).is_empty()
    assert read_slices(folder / "missing").is_empty()


def test_the_frames_of_a_file_are_a_stack(series: list[Path], tmp_path: Path) -> None:
    slices = [pydicom.dcmread(path) for path in series]

    def place_frames(volume: Dataset) -> None:
        for group, one in zip(volume.PerFrameFunctionalGroupsSequence, slices, strict=True):
            place = make_group(PlanePositionSequence={"ImagePositionPatient": one.ImagePositionPatient})
            group.PlanePositionSequence = place.PlanePositionSequence

    volume = enhance(slices, tmp_path / "volume.dcm", change=place_frames)
    stack = find_stack(read_slices(volume), volume, 2)
    assert [one.frame for one in stack] == list(range(1, len(series) + 1))
    assert [one.z_mm for one in stack] == [float(one.ImagePositionPatient[2]) for one in slices]
    assert read_slices(tmp_path).is_empty(), "of a folder, files of one image are read"
