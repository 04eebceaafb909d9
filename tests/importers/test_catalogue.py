"""The catalogue of a folder: headers only, in the order of the patient, kept between runs, whatever lies about."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from enhanced_ct import convert_series
from importers.closed_folders import close_folder
from importers.lidc_phantoms import Series
from noduleclip import schema
from noduleclip.errors import InputError, OutputError, RejectCode
from noduleclip.importers import catalogue_scan as module
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.catalogue_scan import read_catalogue
from noduleclip.importers.slice_columns import ORIENTATION, PATH, POSITION
from noduleclip.importers.slice_names import name_slice
from noduleclip.io import job_pool
from noduleclip.io.dicom import bounded_file
from noduleclip.io.dicom import header as dicom_header

FIRST, SECOND = Series(1), Series(2, "LIDC-IDRI-0002")


def read(root: Path, keep: Path) -> tuple[Catalogue, int, int]:
    """The catalogue, and how many files were read and known."""
    counts = []

    def start(files: int, known: int) -> Callable[[int], None]:
        counts.append((files, known))
        return lambda _: None

    found = read_catalogue(root, keep, workers=1, on_start=start)
    return found, *counts[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    FIRST.write(tmp_path / "root")
    SECOND.write(tmp_path / "root")
    return tmp_path / "root"


def test_slices_are_in_the_order_of_the_patient_not_of_the_files(root: Path, tmp_path: Path) -> None:
    found, _, _ = read(root, tmp_path / "keep")
    series = found.find_series(FIRST.uid)
    assert series is not None
    by_name = found.slices.filter(pl.col(schema.SERIES_UID) == FIRST.uid).sort(PATH)[schema.SOP_UID].to_list()
    in_order = [FIRST.sop_uid(k) for k in range(3)]
    assert series.frame[schema.SOP_UID].to_list() == in_order != by_name
    assert series.heights_mm.tolist() == [-10.0, -7.5, -5.0]
    assert series.gap_mm == 2.5
    assert found.find_series("1.2.3.4.5") is None
    assert series.find_height(-7.4) == 1
    assert series.find_height(-1.0) is None


def test_what_a_slice_says_is_kept(root: Path, tmp_path: Path) -> None:
    found, _, _ = read(root, tmp_path / "keep")
    row = found.find_sop(FIRST.sop_uid(1))
    assert row is not None
    assert row[schema.PATIENT_ID] == "LIDC-IDRI-0001"
    assert (row[schema.SPACING_ROW], row[schema.SPACING_COL]) == (0.8, 0.7)
    assert [row[name] for name in POSITION] == [-10.0, -20.0, -7.5]
    assert (row[schema.SLICE_THICKNESS], row[schema.MANUFACTURER]) == (2.5, "Phantom")
    assert Path(row[PATH]).is_file()
    assert found.find_sop("1.2.3.4.5") is None


def test_a_series_stacked_downwards_grows_upwards_all_the_same(tmp_path: Path) -> None:
    Series(1, heights_mm=(5.0, 2.5, 0.0)).write(tmp_path / "root", ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    series = read(tmp_path / "root", tmp_path / "keep")[0].find_series(FIRST.uid)
    assert series is not None
    assert series.frame[POSITION[2]].to_list() == [0.0, 2.5, 5.0]


def test_a_second_run_reads_only_what_changed(root: Path, tmp_path: Path) -> None:
    first, files, known = read(root, tmp_path / "keep")
    assert (files, known) == (6, 0)
    assert read(root, tmp_path / "keep")[1:] == (0, 6)
    path = sorted(FIRST.folder(root).iterdir())[0]
    os.utime(path, ns=(0, 0))
    SECOND.folder(root).joinpath("000003.dcm").unlink()
    again, files, known = read(root, tmp_path / "keep")
    assert (files, known) == (1, 4)
    assert again.slices.height == first.slices.height - 1


@pytest.mark.parametrize("end", [KeyboardInterrupt, OutputError("disk full")])
def test_a_run_that_is_interrupted_keeps_all_that_it_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: type[BaseException] | BaseException
) -> None:
    monkeypatch.setattr(module, "_FILES_A_JOB", 1)
    monkeypatch.setattr(module, "_FILES_A_PART", 2)
    read_files = module._read_files
    jobs: list[Any] = []

    def read_five(*arguments: Any) -> Any:
        if len(jobs) == 5:
            raise end
        jobs.append(arguments)
        return read_files(*arguments)

    monkeypatch.setattr(module, "_read_files", read_five)
    with pytest.raises((KeyboardInterrupt, OutputError), match=r"disk full|^$"):
        read(root, tmp_path / "keep")
    monkeypatch.undo()
    assert len(list((tmp_path / "keep").iterdir())) == 3
    found, files, known = read(root, tmp_path / "keep")
    assert (files, known) == (1, 5)
    whole = read(root, tmp_path / "other")[0]
    assert found.slices.equals(whole.slices)
    assert [path.name for path in (tmp_path / "keep").iterdir()] == ["catalogue.parquet"]


def test_a_run_that_is_killed_keeps_its_parts(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILES_A_JOB", 1)
    monkeypatch.setattr(module, "_FILES_A_PART", 2)
    keep = module._write_rows

    def keep_two(path: Path, frame: pl.DataFrame, **options: bool) -> None:
        if path.stem == "part-00003":
            raise KeyboardInterrupt
        keep(path, frame, **options)

    monkeypatch.setattr(module, "_write_rows", keep_two)
    with pytest.raises(KeyboardInterrupt):
        read(root, tmp_path / "keep")
    monkeypatch.undo()
    assert read(root, tmp_path / "keep")[1:] == (2, 4)


def test_what_was_kept_and_is_broken_is_read_again(root: Path, tmp_path: Path) -> None:
    read(root, tmp_path / "keep")
    kept = tmp_path / "keep" / "catalogue.parquet"
    for content in (b"", b"PAR1 nonsense PAR1", kept.read_bytes()[:200]):
        kept.write_bytes(content)
        assert read(root, tmp_path / "keep")[1:] == (6, 0)


def test_other_files_and_other_modalities_are_no_rejects(root: Path, tmp_path: Path) -> None:
    for name in ("LICENSE", "069.xml", "metadata.csv", ".DS_Store", "notes"):
        (root / name).write_text("text")
    Series(3, "LIDC-IDRI-0003").write(root, Modality="DX")
    found, _, _ = read(root, tmp_path / "keep")
    assert found.rejects.height == 0
    assert found.not_dicom == 1  # "notes" was looked into
    assert found.count_modalities() == {"DX": 3}
    assert found.slices.height == 6


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImagePositionPatient": None}, RejectCode.BAD_HEADER),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, RejectCode.NOT_AXIAL),
        ({"PixelSpacing": None}, RejectCode.NO_SPACING),
        ({"PixelSpacing": [0, 0]}, RejectCode.BAD_SPACING),
        ({"SeriesInstanceUID": ""}, RejectCode.BAD_HEADER),
    ],
)
def test_slices_without_a_place_are_rejected(
    root: Path, tmp_path: Path, changes: dict[str, object], code: RejectCode
) -> None:
    Series(4).write(root, **changes)
    found, _, _ = read(root, tmp_path / "keep")
    assert found.rejects[schema.REJECT_CODE].to_list() == [str(code)] * 3
    assert all(str(root) in reason for reason in found.rejects[schema.REJECT_REASON])
    assert found.slices.height == 6


@pytest.mark.parametrize(("content", "code"), [(b"", "empty-file"), (b"text" * 100, "not-dicom")])
def test_broken_files_are_rejected(root: Path, tmp_path: Path, content: bytes, code: str) -> None:
    (root / "bad.dcm").write_bytes(content)
    found, _, _ = read(root, tmp_path / "keep")
    assert found.rejects[schema.REJECT_CODE].to_list() == [code]


def test_a_slice_that_lies_there_twice_counts_once(root: Path, tmp_path: Path) -> None:
    copy = root / "copy" / "a.dcm"
    copy.parent.mkdir()
    copy.write_bytes(sorted(FIRST.folder(root).iterdir())[0].read_bytes())
    found, _, _ = read(root, tmp_path / "keep")
    assert found.copies == 1
    assert found.slices.height == 6


def test_a_file_of_another_kind_that_lies_there_twice_counts_once(root: Path, tmp_path: Path) -> None:
    for number in range(4):
        (path,) = Series(4, heights_mm=(0,)).write(root / f"{number}", Modality="SR")
        if number > 1:
            data = pydicom.dcmread(path)
            del data.SOPInstanceUID
            data.save_as(path)
    found, _, _ = read(root, tmp_path / "keep")
    assert [path.relative_to(root).parts[0] for path in found.list_other("SR")] == ["0", "2", "3"]
    assert found.copies == 1


def test_folders_that_link_in_circles_end(root: Path, tmp_path: Path) -> None:
    (root / "again").symlink_to(root, target_is_directory=True)
    assert read(root, tmp_path / "keep")[1:] == (6, 0)


def test_where_patients_are_links_the_message_says_that_these_are_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    for path in root.iterdir():
        (tmp_path / "links" / path.name).symlink_to(path, target_is_directory=True)
    with pytest.raises(InputError, match=r"no CT slice among 0 files.*; links to folders .* not followed.* are 2$"):
        read(tmp_path / "links", tmp_path / "keep")


@pytest.mark.parametrize("name", ["", "gone"])
def test_a_folder_without_slices_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such folder" if name else r"no CT slice among 0 files.* of the series$"):
        read(tmp_path / name, tmp_path / "keep")


def test_workers_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Series(1, heights_mm=(0.0, 1.0)).write(tmp_path / "root")
    monkeypatch.setattr(job_pool, "_JOBS_WORTH_A_POOL", 1)
    pooled = read_catalogue(tmp_path / "root", tmp_path / "one", workers=2)
    alone = read_catalogue(tmp_path / "root", tmp_path / "two", workers=1)
    assert pooled.slices.equals(alone.slices)


def test_a_folder_that_cannot_be_opened_is_a_reject(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = SECOND.folder(root)
    close_folder(monkeypatch, closed)
    for _ in range(2):  # also where all else is known
        found, _, _ = read(root, tmp_path / "keep")
        assert found.rejects.select(PATH, schema.REJECT_CODE).rows() == [(str(closed), "unreadable-file")]
        assert found.slices.height == 3
    monkeypatch.undo()
    found, files, _ = read(root, tmp_path / "keep")
    assert (found.slices.height, found.rejects.height, files) == (6, 0, 3)


def test_where_nothing_can_be_opened_the_reason_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_folder(monkeypatch, root)
    with pytest.raises(InputError, match=r"no CT slice among .* first: .*root: cannot be opened \(Permission denied\)"):
        read(root, tmp_path / "keep")


def test_a_link_in_a_circle_costs_no_other_file_of_its_folder(root: Path, tmp_path: Path) -> None:
    circle = FIRST.folder(root) / "circle.dcm"
    circle.symlink_to(circle)
    found, _, _ = read(root, tmp_path / "keep")
    assert found.rejects[PATH].to_list() == [str(circle)]
    assert found.slices.height == 6


def test_names_that_are_not_utf8_are_rejects(root: Path, tmp_path: Path) -> None:
    (folder, file), moved = (os.fsencode(series.folder(root)) for series in (FIRST, SECOND)), b"caf\xe9"
    try:
        os.rename(folder, os.path.dirname(folder) + b"/" + moved)  # noqa: PTH104, PTH120 - as bytes
        os.rename(file + b"/000003.dcm", file + b"/" + moved + b".dcm")  # noqa: PTH104 - as bytes
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    found, files, _ = read(root, tmp_path / "keep")
    assert files == 2
    names = [str(FIRST.folder(root).with_name("caf\\xe9")), str(SECOND.folder(root) / "caf\\xe9.dcm")]
    assert sorted(found.rejects[PATH]) == names
    assert sorted(found.rejects[schema.REJECT_REASON]) == [
        f"{name}: its name is not UTF-8; rename it" for name in names
    ]


def test_a_file_that_could_not_be_read_is_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "text.dcm").write_text("text" * 100)
    closed = FIRST.folder(root) / "000003.dcm"
    open_bounded = bounded_file.open_bounded

    def refuse(path: Path, *more: int, **options: bool) -> BinaryIO:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_bounded(path, *more, **options)

    monkeypatch.setattr(dicom_header, "open_bounded", refuse)
    found, _, _ = read(root, tmp_path / "keep")
    assert found.rejects[schema.REJECT_CODE].to_list() == ["unreadable-file", "not-dicom"]
    monkeypatch.undo()
    found, files, known = read(root, tmp_path / "keep")
    assert (files, known) == (1, 6)
    assert found.rejects[schema.REJECT_CODE].to_list() == ["not-dicom"]
    assert found.slices.height == 6


def test_files_lost_with_a_process_are_read_again_each_by_itself_in_another_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "alone.dcm").write_bytes(b"")
    asked = []

    def lose(
        work: Callable[[Any], Any], jobs: Sequence[Any], workers: int, *, apart: bool = False
    ) -> Iterator[tuple[Any, Any]]:
        asked.append((sorted(len(job) for job in jobs), apart))
        yield from ((job, job_pool.WorkerCrashed() if len(asked) == 1 else work(job)) for job in jobs)

    monkeypatch.setattr(module, "run_jobs", lose)
    with pytest.raises(InputError, match=r"7 cannot be used, first: .* ends the process that reads it"):
        read(root, tmp_path / "keep")
    found, _, known = read(root, tmp_path / "keep")
    assert (found.slices.height, found.rejects.height, known) == (6, 1, 0)
    assert asked == [([7], False), ([1] * 7, True)]
    assert read(root, tmp_path / "keep")[1:] == (0, 7)


@pytest.mark.parametrize("size", [140, 300, 320, 340])
def test_a_slice_cut_short_before_its_modality_is_a_reject(root: Path, tmp_path: Path, size: int) -> None:
    path = FIRST.folder(root) / "000003.dcm"
    path.write_bytes(path.read_bytes()[:size])
    found, _, _ = read(root, tmp_path / "keep")
    assert found.rejects.select(PATH, schema.REJECT_CODE).rows() == [(str(path), "truncated-header")]
    assert "copy or download it again" in found.rejects[0, schema.REJECT_REASON]
    assert found.others.height == 0


@pytest.mark.parametrize(
    ("sop_class", "changes"),
    [
        (uid.MediaStorageDirectoryStorage, {"FileSetID": "CD"}),
        (uid.HangingProtocolStorage, {"SOPClassUID": uid.HangingProtocolStorage, "HangingProtocolName": "one"}),
        (uid.GrayscaleSoftcopyPresentationStateStorage, {"Modality": "PR", "SeriesInstanceUID": "1.2.8"}),
        (uid.ComprehensiveSRStorage, {"SOPClassUID": uid.ComprehensiveSRStorage, "SeriesInstanceUID": "1.2.8"}),
        (uid.CTImageStorage, {"SeriesInstanceUID": "1.2.8"}),
    ],
)
def test_what_has_no_modality_by_its_nature_is_no_reject(
    root: Path, tmp_path: Path, sop_class: uid.UID, changes: dict[str, str]
) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = sop_class, uid.UID("1.2.7")
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    data.save_as(root / "other.dcm", enforce_file_format=True)
    found, _, _ = read(root, tmp_path / "keep")
    assert (found.rejects.height, found.others.height) == (0, 1)


def test_frames_of_enhanced_ct_are_slices(root: Path, tmp_path: Path) -> None:
    expected = read(root, tmp_path / "before")[0].slices
    folder = FIRST.folder(root)
    frames = convert_series(folder, "1.2.3.4")
    found, files, _ = read(root, tmp_path / "keep")
    assert (files, found.slices.height) == (4, 6)
    of_first = found.slices.filter(pl.col(schema.SERIES_UID) == FIRST.uid)
    assert of_first[schema.FRAME].to_list() == [1, 2, 3]
    for uid_, frame in frames.items():
        row = found.find_sop(name_slice("1.2.3.4", frame))
        before = expected.row(by_predicate=pl.col(schema.SOP_UID) == uid_, named=True)
        assert row is not None
        kept = [*POSITION, *ORIENTATION, schema.SPACING_ROW, schema.SPACING_COL, schema.SLICE_THICKNESS]
        assert [row[name] for name in kept] == [before[name] for name in kept]
    assert found.slices.filter(pl.col(schema.SERIES_UID) == SECOND.uid)[schema.FRAME].null_count() == 3
    again, files, known = read(root, tmp_path / "keep")
    assert (files, known) == (0, 4)
    assert again.slices.equals(found.slices)
    shutil.copy(folder / "volume.dcm", folder / "copy.dcm")
    copied, _, _ = read(root, tmp_path / "keep")
    assert (copied.slices.height, copied.copies) == (6, 1)


def test_another_image_with_the_uid_of_a_slice_is_no_copy_of_it(root: Path, tmp_path: Path) -> None:
    path = sorted(SECOND.folder(root).iterdir())[0]
    data = pydicom.dcmread(path)
    shutil.copy(path, path.with_name("copy.dcm"))
    data.SOPInstanceUID = FIRST.sop_uid(0)
    data.save_as(path.with_name("other.dcm"))
    found, _, _ = read(root, tmp_path / "keep")
    (reject,) = found.rejects.rows(named=True)
    assert (found.copies, reject[schema.REJECT_CODE]) == (1, RejectCode.BAD_HEADER)
    assert "other.dcm: has the SOP Instance UID of another image, " in reject[schema.REJECT_REASON]


def no_positions(volume: Dataset) -> None:
    for group in volume.PerFrameFunctionalGroupsSequence:
        del group.PlanePositionSequence
    volume.ImagePositionPatient = [0, 0, 0]


def too_few_groups(volume: Dataset) -> None:
    volume.PerFrameFunctionalGroupsSequence = volume.PerFrameFunctionalGroupsSequence[:2]


def shared_groups(volume: Dataset) -> None:
    volume.SharedFunctionalGroupsSequence = volume.PerFrameFunctionalGroupsSequence[:1]
    del volume.PerFrameFunctionalGroupsSequence
    volume.NumberOfFrames = 2_000_000_000


@pytest.mark.parametrize(
    ("change", "code", "reason"),
    [
        (no_positions, RejectCode.BAD_HEADER, "of frame 1 of 3, ImagePositionPatient or ImageOrientationPatient is"),
        (too_few_groups, RejectCode.BAD_HEADER, "PerFrameFunctionalGroupsSequence has 2 items, none for frame 3"),
        (shared_groups, RejectCode.TOO_LARGE, "a multi-frame CT of 2,000,000,000 frames, and at most 4,096 are read"),
    ],
)
def test_enhanced_ct_without_places_is_rejected(
    root: Path, tmp_path: Path, change: Callable[[Dataset], None], code: RejectCode, reason: str
) -> None:
    convert_series(FIRST.folder(root))
    path = FIRST.folder(root) / "volume.dcm"
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    found, _, _ = read(root, tmp_path / "keep")
    (reject,) = found.rejects.rows(named=True)
    assert reject[schema.REJECT_CODE] == code
    assert reason in reject[schema.REJECT_REASON]
    assert found.series_uids() == [SECOND.uid]


def test_frames_that_are_localizers_are_left_out(root: Path, tmp_path: Path) -> None:
    convert_series(FIRST.folder(root))
    path = FIRST.folder(root) / "volume.dcm"
    data = pydicom.dcmread(path)
    for frame in (0, 1):
        data.PerFrameFunctionalGroupsSequence[frame].CTImageFrameTypeSequence[0].FrameType[2] = "LOCALIZER"
        data.save_as(path)
    found, _, _ = read(root, tmp_path / "keep")
    assert found.slices.filter(pl.col(schema.SERIES_UID) == FIRST.uid)[schema.FRAME].to_list() == [3]
