"""Synthetic patients: CT series on disk and the table of what several readers would have drawn in them.

Stands in for LIDC-IDRI in the demo and the tests. Knows how nodules vary; the tissue itself is drawn by
`phantom_tissue`, and what readers make of it by `phantom_readers`.
"""

import math
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from noduleclip import schema
from noduleclip.errors import ConfigError, UsageError
from noduleclip.io.artefacts import name_part
from noduleclip.io.disk import require_space, round_to_blocks, telling_write_errors
from noduleclip.io.job_pool import open_pool
from noduleclip.io.text_table import format_csv
from noduleclip.phantom.readers import Row, measure_feret_mm, read_nodule
from noduleclip.phantom.tissue import (
    OUTLINE_ANGLES,
    Floats,
    Grid,
    Nodule,
    ScanAppearance,
    Thorax,
    draw_phantom_slice,
    draw_series,
)

__all__ = ["PhantomConfig", "PhantomSummary", "draw_phantom_slice", "make_phantoms"]

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
    """What to make.

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
    """What was made.

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
        with telling_write_errors(out_dir, folder):
            folder.mkdir(parents=True)
            yield folder
            if out_dir.exists():
                out_dir.rmdir()
            folder.replace(out_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_patients(folder: Path, config: PhantomConfig, workers: int) -> Generator[tuple[list[Row], int], None, None]:
    """Write all patients and give the rows and the number of slices of each, in order."""
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
    grid = _draw_grid(rng, config.matrix_px, slices=_count_slices(count))
    thorax, appearance = _draw_thorax(rng, grid), _draw_look(rng)
    nodules = _place_nodules(rng, grid, thorax, appearance, count)
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
        rows += [place | reading for reading in read_nodule(rng, config.readers, grid, appearance, nodule, k)]
    return rows, grid.slices


# How patients, lungs and nodules vary.


def _draw_grid(rng: np.random.Generator, matrix_px: int, slices: int) -> Grid:
    """Draw spacing and slice thickness as in LIDC; one patient in six has unequal row and column spacing."""
    row_mm = round(float(np.clip(rng.normal(0.69, 0.09), 0.5, 0.95)), 4)
    ratio = rng.uniform(0.9, 1.1) if rng.random() < 1 / 6 else 1.0
    column_mm = round(float(np.clip(row_mm * ratio, 0.5, 0.95)), 4)
    thickness_mm = float(rng.choice((1.0, 1.25, 1.5, 2.0, 2.5, 3.0), p=(0.1, 0.35, 0.05, 0.15, 0.25, 0.1)))
    return Grid(matrix_px, (row_mm, column_mm), slices, thickness_mm)


def _draw_thorax(rng: np.random.Generator, grid: Grid) -> Thorax:
    """Draw the shape of a lung that fits the field of view, left or right."""
    half_y, half_x = grid.half_yx_mm
    semi_x = min(rng.uniform(0.70, 0.86) * half_x, 75.0)
    semi_y = min(rng.uniform(0.76, 0.92) * half_y, 95.0)
    side = float(rng.choice((-1.0, 1.0)))
    bulges = (
        (
            side * semi_x * rng.uniform(0.92, 1.05),
            semi_y * rng.uniform(-0.3, 0.2),
            semi_x * rng.uniform(0.3, 0.45),
        ),
        (
            side * semi_x * rng.uniform(0.95, 1.10),
            semi_y * rng.uniform(0.3, 0.6),
            semi_x * rng.uniform(0.2, 0.35),
        ),
    )
    return Thorax(
        semi_axes_mm=(semi_x, semi_y),
        squareness=rng.uniform(2.1, 2.8),
        waves=tuple((rng.normal(0, 0.025 / k), rng.uniform(0, 2 * math.pi)) for k in range(1, 6)),
        bulges_mm=bulges,
        drift=rng.normal(0, 0.003),
        wall_mm=rng.uniform(22, 45),
        ribs=int(rng.integers(6, 9)),
        rib_phase=rng.uniform(0, 2 * math.pi),
    )


def _draw_look(rng: np.random.Generator) -> ScanAppearance:
    """Draw the tissue and scanner of one scan."""
    contrast = rng.random() < 0.5
    return ScanAppearance(
        lung_hu=float(np.clip(rng.normal(-870, 35), -930, -780)),
        vessel_hu=rng.uniform(110, 260) if contrast else rng.uniform(25, 55),
        texture_hu=rng.uniform(25, 55),
        noise_hu=float(np.clip(15 * rng.lognormal(0.6, 0.5), 15, 50)),
        noise_px=rng.uniform(0.35, 0.85),
        psf_px=rng.uniform(0.55, 0.95),
    )


def _place_nodules(
    rng: np.random.Generator, grid: Grid, thorax: Thorax, appearance: ScanAppearance, count: int
) -> list[tuple[Nodule, int]]:
    """Draw nodules that neither overlap nor leave the lung or the image.

    Returns:
        Each nodule with the index of the slice through its largest cross section; a nodule that finds no room
        even after shrinking is left out, never the first.
    """
    limit_mm = min(38.0, 0.45 * min(thorax.semi_axes_mm))
    sizes_mm = np.clip((3.3 + 3.9 * rng.lognormal(0, 1.1, count)) * rng.lognormal(0, 0.2, count), 2.6, limit_mm)
    placed: list[tuple[Nodule, int]] = []
    for size_mm in sorted(sizes_mm.tolist(), reverse=True):
        nodule = _draw_nodule(rng, grid, appearance, size_mm)
        at_pleura = rng.random() < 0.22 and nodule.reach_mm > 2
        slice_index = int(rng.integers(0, grid.slices))
        off_plane_mm = rng.uniform(-0.3, 0.3) * min(grid.thickness_mm, nodule.depth_mm)
        for attempt in range(400):
            if attempt % 100 == 99:
                nodule = replace(nodule, radii_mm=nodule.radii_mm * np.float32(0.75))
            x_mm, y_mm = (rng.uniform(-axis, axis) for axis in thorax.semi_axes_mm)
            z_mm = slice_index * grid.thickness_mm
            moved = replace(nodule, center_mm=(x_mm, y_mm, z_mm + off_plane_mm))
            others = [other for other, _ in placed]
            if _fits(grid, thorax.depth_mm(x_mm, y_mm, z_mm), moved, others, at_pleura and attempt < 300):
                placed.append((moved, slice_index))
                break
    return placed


def _fits(grid: Grid, depth_mm: float, nodule: Nodule, others: list[Nodule], at_pleura: bool) -> bool:
    """Return whether a nodule has room where it is, `depth_mm` away from the wall of the lung."""
    x_mm, y_mm, _ = nodule.center_mm
    reach_mm = nodule.reach_mm
    if at_pleura and not 0.75 < depth_mm / float(nodule.radii_mm.mean()) < 1.0:
        return False
    if not at_pleura and depth_mm < reach_mm + 1.5:
        return False
    half_y, half_x = grid.half_yx_mm
    room_mm = min(half_x - abs(x_mm), half_y - abs(y_mm))
    if room_mm < 1.45 * reach_mm + 4 * grid.pixel_mm:
        return False
    return all(math.dist((x_mm, y_mm), other.center_mm[:2]) > reach_mm + other.reach_mm + 4 for other in others)


def _draw_nodule(rng: np.random.Generator, grid: Grid, appearance: ScanAppearance, diameter_mm: float) -> Nodule:
    """Draw shape and attenuation of a nodule around the origin, `diameter_mm` long in its plane."""
    theta = np.arange(OUTLINE_ANGLES) * (2 * math.pi / OUTLINE_ANGLES)
    elongation, turn = 1 + 0.5 * rng.beta(1.3, 1.8), rng.uniform(0, math.pi)
    radii = 1 / np.hypot(np.cos(theta - turn), elongation * np.sin(theta - turn))
    roughness = rng.choice((0.05, 0.10, 0.16), p=(0.4, 0.4, 0.2)) * min(1.0, diameter_mm / 8)
    for order in range(2, 8):
        amplitude = 2 * roughness * rng.normal() / order
        radii *= 1 + amplitude * np.cos(order * theta + rng.uniform(0, 2 * math.pi))
    outline = radii[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    radii *= diameter_mm / measure_feret_mm(outline, (1.0, 1.0))
    kind = rng.choice(("solid", "calcified", "part-solid", "ground-glass"), p=(0.76, 0.06, 0.08, 0.10))
    solid_hu = rng.uniform(0, 60) + (0.4 * max(0.0, appearance.vessel_hu - 60))
    glass_hu = appearance.lung_hu + rng.uniform(200, 520)
    body_hu = {"solid": solid_hu, "calcified": rng.uniform(250, 800)}.get(str(kind), glass_hu)
    glassy = kind in ("part-solid", "ground-glass")
    return Nodule(
        center_mm=(0.0, 0.0, 0.0),
        radii_mm=radii.astype(np.float32),
        depth_mm=max(diameter_mm / 2 * rng.uniform(0.65, 1.0), 0.5 * grid.thickness_mm),
        hu=body_hu,
        edge_mm=min(diameter_mm / 3, rng.uniform(1.5, 4.0)) if glassy else grid.pixel_mm * (1 + 2 * rng.beta(1, 2)),
        core_share=rng.uniform(0.3, 0.6) if kind == "part-solid" else 0.0,
        core_hu=solid_hu,
    )


# How they are written.


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
