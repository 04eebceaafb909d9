"""Synthetic patients: CT series on disk and the ROI table of several readers, in place of LIDC-IDRI.

`phantom.variation` draws what differs between patients, `phantom.tissue` their slices, `phantom.readers` outlines and
ratings.
"""

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from noduleclip import schema
from noduleclip.errors import ConfigError, UsageError
from noduleclip.io.artefacts import name_part
from noduleclip.io.disk import require_space, round_to_blocks, translate_write_errors
from noduleclip.io.job_pool import open_pool
from noduleclip.io.text_table import format_csv
from noduleclip.phantom.geometry import Floats, Grid
from noduleclip.phantom.readers import Row, annotate_nodule
from noduleclip.phantom.tissue import draw_series
from noduleclip.phantom.variation import draw_appearance, draw_grid, draw_thorax, place_nodules

RESCALE_INTERCEPT: Final = -1024
STORED_MAX: Final = 4095
MANUFACTURER_NAME: Final = "Phantom Imaging Works"
DICOM_FOLDER: Final = "dicom"
COLUMN_TYPES: Final[dict[str, type[pl.DataType]]] = {
    schema.DICOM_PATH: pl.String,
    schema.SPACING_ROW: pl.Float64,
    schema.SPACING_COL: pl.Float64,
    schema.DIAMETER_MM: pl.Float64,
    schema.CENTROID_X: pl.Float64,
    schema.CENTROID_Y: pl.Float64,
    **dict.fromkeys(schema.BOX_COLUMNS, pl.Int64),
    schema.POINTS_JSON: pl.String,
    schema.SERIES_UID: pl.String,
    schema.SOP_UID: pl.String,
    schema.PATIENT_ID: pl.String,
    schema.NODULE_ID: pl.String,
    schema.READER: pl.String,
    schema.TEXTURE: pl.Int64,
    schema.SUBTLETY: pl.Int64,
    schema.Z_MM: pl.Float64,
    schema.SLICE_THICKNESS: pl.Float64,
    schema.MANUFACTURER: pl.String,
}


_HEADER_BYTES: Final = 1024  # of a slice, at least


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Size and seed of a collection of phantoms.

    Attributes:
        patients: Number of patients, one series each.
        seed: Seed of everything random.
        matrix_px: Rows and columns of a slice.
        readers: Readers who look at each nodule; each may miss it, never all.
    """

    patients: int = 60
    seed: int = 0
    matrix_px: int = 256
    readers: int = 4

    def __post_init__(self) -> None:
        for option, value, low, high in (
            ("--patients", self.patients, 1, 9999),
            ("--seed", self.seed, 0, 2**63 - 1),
            ("--matrix-px", self.matrix_px, 96, 512),
            ("--readers", self.readers, 1, 12),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{option} must be in [{low}, {high}], got {value}")


@dataclass(frozen=True)
class PhantomSummary:
    """Collection that was written.

    Attributes:
        roi_csv: The ROI table.
        patients: Patients in it.
        nodules: Nodules in it.
        rois: Its rows, one per reader who marked a nodule.
        slices: DICOM files.
    """

    roi_csv: Path
    patients: int
    nodules: int
    rois: int
    slices: int


def make_phantoms(
    out_dir: Path,
    config: PhantomConfig,
    *,
    on_patient: Callable[[int], None] | None = None,
    workers: int = 1,
) -> PhantomSummary:
    """Write the series of all patients and their ROI table; the folder appears whole or not at all.

    The same configuration gives the same bytes, however many workers there are.

    Args:
        out_dir: Folder to make: `dicom/PHANTOM-0001/00001.dcm`, … and `roi_with_diam.csv`.
        config: What to make.
        on_patient: Called after each patient with the number finished so far.
        workers: Processes to share the patients among.

    Raises:
        UsageError: `out_dir` is a file or holds something, or its parent cannot be written to.
        ConfigError: `workers` is below 1.
    """
    if workers < 1:
        raise ConfigError(f"--workers must be at least 1, got {workers}")
    rows: list[Row] = []
    slices = 0
    require_space(out_dir, measure_phantoms(config))
    with _appearing_whole(out_dir) as folder, closing(_write_patients(folder, config, workers)) as patients:
        for done, (patient_rows, patient_slices) in enumerate(patients, start=1):
            rows += patient_rows
            slices += patient_slices
            if on_patient is not None:
                on_patient(done)
        (folder / schema.ROI_CSV).write_bytes(format_csv(pl.DataFrame(rows, schema=COLUMN_TYPES)).encode())
    nodules = len({row[schema.NODULE_ID] for row in rows})
    return PhantomSummary(out_dir / schema.ROI_CSV, config.patients, nodules, len(rows), slices)


def measure_phantoms(config: PhantomConfig) -> int:
    """Return the bytes of disk that the slices of all patients take; their table has a few kB a patient."""
    slice_bytes = round_to_blocks(2 * config.matrix_px**2 + _HEADER_BYTES)
    numbers = range(1, config.patients + 1)
    slices = sum(_count_slices(_draw_count(_seed_patient(config, number))) for number in numbers)
    return slices * slice_bytes


def _seed_patient(config: PhantomConfig, number: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, number])


def _draw_count(rng: np.random.Generator) -> int:
    """Draw how many nodules a patient has; the first thing that is drawn."""
    return int(rng.choice((1, 2, 3, 4, 5), p=(0.1, 0.25, 0.3, 0.2, 0.15)))


def _count_slices(nodules: int) -> int:
    return min(8, 3 + nodules)


@contextmanager
def _appearing_whole(out_dir: Path) -> Iterator[Path]:
    """Return a temporary folder beside `out_dir`; rename it to `out_dir` once the block has ended well."""
    if out_dir.exists() and not out_dir.is_dir():
        raise UsageError(f"{out_dir}: is a file, a folder is needed")
    if out_dir.exists() and any(out_dir.iterdir()):
        raise UsageError(f"{out_dir}: the folder is not empty; choose a new one for the phantoms, or empty it")
    folder = name_part(out_dir)
    try:
        with translate_write_errors(out_dir, folder):
            folder.mkdir(parents=True)
            yield folder
            if out_dir.exists():
                out_dir.rmdir()
            folder.replace(out_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_patients(folder: Path, config: PhantomConfig, workers: int) -> Generator[tuple[list[Row], int], None, None]:
    """Write all patients; yield the rows and the number of slices of each, in order."""
    if workers == 1:
        for number in range(1, config.patients + 1):
            yield _write_patient(folder, config, number)
        return
    pool = open_pool(min(workers, config.patients))
    try:
        tasks = [pool.submit(_write_patient, folder, config, n) for n in range(1, config.patients + 1)]
        for task in tasks:
            yield task.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_patient(folder: Path, config: PhantomConfig, number: int) -> tuple[list[Row], int]:
    """Write one patient's series.

    Returns:
        The patient's rows of the ROI table, and the number of slices.
    """
    rng = _seed_patient(config, number)
    count = _draw_count(rng)
    grid = draw_grid(rng, config.matrix_px, slices=_count_slices(count))
    thorax, appearance = draw_thorax(rng, grid), draw_appearance(rng)
    nodules = place_nodules(rng, grid, thorax, appearance, count)
    hu = draw_series(rng, grid, thorax, [nodule for nodule, _ in nodules], appearance)
    patient_id = f"PHANTOM-{number:04d}"
    first_z_mm = round(rng.uniform(-220.0, -60.0), 2)
    headers = [_make_header(config, grid, patient_id, first_z_mm, k) for k in range(grid.slices)]
    series_folder = folder / DICOM_FOLDER / patient_id
    series_folder.mkdir(parents=True)
    for header, slice_hu in zip(headers, hu, strict=True):
        _write_slice(series_folder / f"{header.InstanceNumber:05d}.dcm", header, slice_hu, signed=number % 4 == 0)
    rows: list[Row] = []
    for index, (nodule, k) in enumerate(nodules, start=1):
        place = _describe_slice(headers[k], grid) | {schema.NODULE_ID: f"{patient_id}_N{index}"}
        rows += [place | drawn for drawn in annotate_nodule(rng, config.readers, grid, appearance, nodule, k)]
    return rows, grid.slices


def _make_header(config: PhantomConfig, grid: Grid, patient_id: str, first_z_mm: float, k: int) -> Dataset:
    """Make the header of slice `k` (from 0) of a patient, all of it but the pixels."""

    def uid(*parts: object) -> str:
        sources = ("noduleclip phantom 1", config.seed, config.matrix_px, patient_id, *parts)
        return str(generate_uid(entropy_srcs=[str(source) for source in sources]))

    half_y, half_x = grid.half_yx_mm
    z_mm = round(first_z_mm + k * grid.thickness_mm, 3)
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, uid("instance", k)
    header.StudyInstanceUID, header.SeriesInstanceUID = uid("study"), uid("series")
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = uid("frame of reference"), ""
    header.Modality, header.Manufacturer = "CT", MANUFACTURER_NAME
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    header.StudyDescription = "Synthetic phantom, no person"
    header.PatientID, header.PatientName = patient_id, ""
    header.PatientBirthDate = header.PatientSex = header.StudyDate = header.StudyTime = ""
    header.AccessionNumber = header.ReferringPhysicianName = header.StudyID = ""
    header.BodyPartExamined, header.PatientPosition, header.KVP = "CHEST", "HFS", "120"
    header.SeriesNumber, header.AcquisitionNumber, header.InstanceNumber = 1, 1, k + 1
    header.PixelSpacing = [f"{spacing:.4f}" for spacing in grid.spacing_yx_mm]
    header.SliceThickness = f"{grid.thickness_mm:g}"
    header.ImagePositionPatient = [f"{-half_x:.4f}", f"{-half_y:.4f}", f"{z_mm:.3f}"]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.WindowCenter, header.WindowWidth = "-600", "1500"
    return header


def _write_slice(path: Path, header: Dataset, hu: Floats, *, signed: bool) -> None:
    """Write a slice of HU (Y, X) as a CT image, explicit VR little endian, 16 bits allocated."""
    stored = np.clip(np.rint(hu - RESCALE_INTERCEPT), 0, STORED_MAX).astype("<i2" if signed else "<u2")
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = stored.shape
    header.BitsAllocated, header.PixelRepresentation = 16, int(signed)
    header.BitsStored, header.HighBit = (16, 15) if signed else (12, 11)
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "1", str(RESCALE_INTERCEPT), "HU"
    header.PixelData = stored.tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)


def _describe_slice(header: Dataset, grid: Grid) -> Row:
    """Return the columns that follow from a slice."""
    patient_id = str(header.PatientID)
    return {
        schema.DICOM_PATH: f"{DICOM_FOLDER}/{patient_id}/{header.InstanceNumber:05d}.dcm",
        schema.SPACING_ROW: grid.spacing_yx_mm[0],
        schema.SPACING_COL: grid.spacing_yx_mm[1],
        schema.SERIES_UID: str(header.SeriesInstanceUID),
        schema.SOP_UID: str(header.SOPInstanceUID),
        schema.PATIENT_ID: patient_id,
        schema.Z_MM: float(header.ImagePositionPatient[2]),
        schema.SLICE_THICKNESS: grid.thickness_mm,
        schema.MANUFACTURER: MANUFACTURER_NAME,
    }
