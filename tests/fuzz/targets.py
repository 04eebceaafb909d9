"""What reads bytes from elsewhere, each with what must hold for any bytes.

A target gives a checked result or refuses with one of its errors; `check` holds it to that, and to the rest of the
contract: one printable line, no warning, bounded time and memory.
"""

import contextlib
import functools
import gzip
import importlib
import resource
import signal
import sys
import tomllib
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import polars as pl

from fuzz import words
from fuzz.graphs import change_graph
from fuzz.mutate import Restructure
from fuzz.sound import make_meta, make_text_tower, make_told, write_sound_index, write_sound_slice
from noduleclip import schema
from noduleclip.errors import ArtefactError, InputError, NoduleclipError, RejectCode, SliceError, UsageError
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.diameters import DiameterKind, measure_outline
from noduleclip.importers.dicom_seg import read_segments
from noduleclip.importers.dicom_sr import read_reports
from noduleclip.importers.grouping import number_nodules
from noduleclip.importers.lidc_xml import read_lidc_xml
from noduleclip.importers.monai import read_data_list
from noduleclip.importers.nndetection import read_nndetection
from noduleclip.importers.point_table import read_point_table
from noduleclip.importers.report_regions import measure_region
from noduleclip.importers.rtstruct import read_structure_set
from noduleclip.importers.rtstruct_outlines import nest_loops, split_loops
from noduleclip.importers.segment_annotations import find_middle
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.dicom.slice import check_ct_slice, read_patient_id
from noduleclip.io.index.condition_filters import build_expression, build_lance_filter
from noduleclip.io.index.conditions import parse_condition
from noduleclip.io.index.open import open_index
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.outlines import draw_nodules
from noduleclip.io.patients import format_patient_list, read_patient_list
from noduleclip.io.reader_table import read_readers
from noduleclip.io.roi_table import read_roi_table
from noduleclip.io.score_table import read_scores
from noduleclip.io.slice_crops import CutSettings, SliceJob, cut_slice, make_jobs
from noduleclip.io.slice_plane import SlicePlane
from noduleclip.io.suspicions import find_suspicions
from noduleclip.io.text_table import guard_cells
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.hu_slices import HuSlices
from noduleclip.language.query import describe_query, parse_queries
from noduleclip.retrieval.text_query import SentenceEncoder

MOST_SECONDS = 5.0  # of processor time
MOST_MB = 400.0  # that the resident memory may grow by, for one input
LONGEST_MESSAGE = 2000
CONDITION_ROWS = pl.DataFrame(
    {schema.DIAMETER_MM: [3.0, None, 12.5], schema.PATIENT_ID: ["a", None, "b'c"], schema.ROW: [0, 1, 2]}
)
SETTINGS = CutSettings(fov_mm=24.0, size_px=16)


class BrokenContractError(Exception):
    """An input did what none may do; `kind` is the same for inputs that did the same."""

    def __init__(self, kind: str, details: str) -> None:
        super().__init__(f"{kind}\n{details}")
        self.kind = kind


class _TooSlow(BaseException):
    pass


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        read: Reads the bytes in a folder of its own.
        refuses_with: What it may raise.
        words: What its inputs are made of, for the mutator.
        imports: What it imports, which takes long and is not its time.
        restructure: Changes what an input says, for the mutator.
    """

    read: Callable[[bytes, Path], None]
    refuses_with: tuple[type[NoduleclipError], ...]
    words: tuple[bytes, ...]
    imports: tuple[str, ...] = ()
    restructure: Restructure | None = None

    @property
    def name(self) -> str:
        """Name of the target and of its folder in the corpus."""
        return self.read.__name__.removeprefix("_").removeprefix("read_")


def check(target: Target, content: bytes, folder: Path) -> bool:
    """Hold a target to its contract on one input.

    Returns:
        Whether the input was accepted.

    Raises:
        BrokenContractError: It was not held.
    """
    for module in target.imports:
        importlib.import_module(module)
    before_mb = peak_mb()
    accepted = False
    try:
        with warnings.catch_warnings(), _watched():
            warnings.simplefilter("error")
            target.read(content, folder)
        accepted = True
    except target.refuses_with as error:
        _check_message(str(error))
    except (BrokenContractError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise BrokenContractError(_name_kind(error), traceback.format_exc()[-4000:]) from error
    grown = peak_mb() - before_mb
    if grown > MOST_MB:
        raise BrokenContractError("memory", f"resident memory grew by {grown:.0f} MB")
    return accepted


def peak_mb() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """End an input that takes too much processor time, however busy the machine; code in C once it is back."""

    def end(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _name_kind(error: BaseException) -> str:
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "noduleclip" in frame.filename]
    where = f"{Path(ours[-1].filename).stem}.{ours[-1].name}" if ours else "outside"
    return f"{type(error).__name__.strip('_')}-in-{where}"


def _check_message(message: str) -> None:
    if not message.isprintable():
        raise BrokenContractError("message-unprintable", repr(message[:LONGEST_MESSAGE]))
    if not 0 < len(message) <= LONGEST_MESSAGE:
        raise BrokenContractError("message-length", f"{len(message)} characters: {message[:LONGEST_MESSAGE]}")


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise BrokenContractError(what.replace(" ", "-"), what)


def _put(path: Path, content: bytes) -> Path:
    """Write an input as a new file: an earlier one may still be mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


# Tables and lists.


def _read_roi_csv(content: bytes, folder: Path) -> None:
    _read_rois(_put(folder / "roi.csv", content), folder)


def _read_roi_parquet(content: bytes, folder: Path) -> None:
    _read_rois(_put(folder / "roi.parquet", content), folder)


def _read_rois(path: Path, folder: Path) -> None:
    try:
        read_roi_table(path, restrict_to_root=True)
    except InputError as error:
        _check_message(str(error))
    table = read_roi_table(path)
    frame = table.frame
    find_suspicions(table)
    nodules = group_nodules(frame)
    ratings, names = parse_ratings(frame, nodules)
    _demand(ratings.shape == (*nodules.diameters_mm.shape, len(names)), "ratings of another shape")
    outlines = draw_nodules(frame, nodules, fov_mm=SETTINGS.fov_mm, size_px=SETTINGS.size_px)
    _demand(not np.isinf(outlines.hull_points_mm).any(), "a rim that is not finite")
    _demand(sum(len(job.rows) for job in make_jobs(frame, SETTINGS)) == frame.height, "a row without a job")
    guard_cells(frame).write_csv(folder / "guarded.csv")


def _read_point_table(content: bytes, folder: Path) -> None:
    found = read_point_table(_put(folder / "nodules.csv", content))
    _check_spheres(found.spheres, [*found.remarks, *(one.reason for one in found.rejected)])


def _read_data_list(content: bytes, folder: Path) -> None:
    found = read_data_list(_put(folder / "list.json", content))
    _check_spheres(found.spheres, [one.reason for one in found.rejected])


def _read_nndetection(content: bytes, folder: Path) -> None:
    placed = read_nndetection(_put(folder / "case_boxes.json", content)).placed
    _check_spheres(placed.spheres, [*placed.remarks, *(one.reason for one in placed.rejected)])


def _check_spheres(spheres: Sequence[Sphere], reasons: Sequence[str]) -> None:
    for reason in reasons:
        _check_message(InputError(reason).args[0])
    for sphere in spheres:
        size_mm = 1.0 if sphere.diameter_mm is None else sphere.diameter_mm
        place = sphere.center_mm if sphere.pixel_place is None else sphere.pixel_place.position
        named = bool(sphere.series_uid or sphere.patient_id)
        _demand(bool(np.isfinite((*place, size_mm)).all() and size_mm > 0 and named), "no sphere")


def _read_meta_image(content: bytes, folder: Path) -> None:
    _read_volume(_put(folder / "image.mha", content))


def _read_nifti(content: bytes, folder: Path) -> None:
    """Read a file, and the same within gzip."""
    packed = gzip.compress(content, 1)
    try:
        _read_volume(_put(folder / "image.nii.gz", packed))
    except InputError as error:
        _check_message(str(error))
    _read_volume(_put(folder / "image.nii", content))


def _read_nrrd(content: bytes, folder: Path) -> None:
    _read_volume(_put(folder / "image.nrrd", content))


def _read_volume(path: Path) -> None:
    volume = open_volume(path, max_pixels=4096)
    slices, rows, columns = volume.shape_zyx
    _demand(bool(np.isfinite(volume.planes[-1].position_mm).all()), "a slice that is nowhere")
    for _, values in volume.read_slices({0, slices - 1}):
        _demand(values.shape == (rows, columns), "a slice of another shape")
    if not volume.stored.is_mask:
        for _, hu in HuSlices(volume, {slices // 2}):
            _demand(hu.shape == (rows, columns), "a slice in HU of another shape")


def _read_segmentation(content: bytes, folder: Path) -> None:
    for segment in read_segments(_put(folder / "seg.dcm", content), max_pixels=4096):
        if not segment.is_anatomy:
            _demand(bool(np.isfinite(find_middle(segment)).all()), "a segment that is nowhere")


def _read_structure_set(content: bytes, folder: Path) -> None:
    for roi in read_structure_set(_put(folder / "rt.dcm", content), max_pixels=4096).rois:
        for curve in roi.curves:
            _demand(bool(np.isfinite(curve.points_mm).all()), "a contour that is nowhere")
            loops = split_loops(curve.points_mm[:, :2], (0.7, 0.8))
            _demand(sum(map(len, loops)) <= len(curve.points_mm) + len(loops), "vertices that the curve has not")
            _demand(len(nest_loops(loops[:50], "1.2", 0.0)) <= 50, "contours that the curve has not")


def _read_report(content: bytes, folder: Path) -> None:
    plane = SlicePlane((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.7, 0.8), (16, 16))
    for report in read_reports(_put(folder / "sr.dcm", content)):
        _demand(not np.isinf((report.size_mm, report.estimated_mm)).any(), "a diameter that is not finite")
        for region in report.regions:
            extent = measure_region(region, plane if region.sop_uid else None)
            _demand(bool(np.isfinite(extent.center_mm).all()), "a region that is nowhere")
            _demand(not extent.diameter_mm <= 0 and extent.area_mm2 >= 0, "a region of no size")


def _read_patients(content: bytes, folder: Path) -> None:
    patients = read_patient_list(_put(folder / "patients.txt", content))
    _demand(all(patient == patient.strip() != "" for patient in patients), "an id with blanks around it")
    _put(folder / "again.txt", format_patient_list(patients).encode())
    _demand(read_patient_list(folder / "again.txt") == patients, "a list that does not read back")


def _read_scores(content: bytes, folder: Path) -> None:
    rows = np.arange(3, dtype=np.int64)
    scores = read_scores(_put(folder / "scores.csv", content), ("small", "> 6 mm"), rows)
    _demand(scores.shape == (2, 3) and bool(np.isfinite(scores).all()), "scores of another shape")


def _read_readers(content: bytes, folder: Path) -> None:
    meta = make_meta()
    rows, missing = read_readers(_put(folder / "readers.csv", content), meta)
    _demand(rows[schema.ROW].n_unique() == meta.height and missing < meta.height, "a nodule without a row")


def _read_lidc_xml(content: bytes, folder: Path) -> None:
    path = _put(folder / "069.xml", content)
    reads = read_lidc_xml([path])
    for unread in reads.rejected:
        _demand(unread.path == path, "a file that was not given")
        raise SliceError(unread.code, unread.reason)
    outlines = [outline for file in reads.files for outline in file.outlines]
    for outline in outlines:
        _demand(any(contour.includes for contour in outline.contours), "an outline of holes alone")
        _demand(all(1 <= rating <= 6 for rating in outline.ratings.values()), "a rating off all scales")
        _demand(
            all(bool(np.isfinite(contour.points_px).all()) for contour in outline.contours), "a vertex that is nowhere"
        )
        measure_outline(outline, (0.8, 0.7), DiameterKind.AXES_MEAN)
    number_nodules(outlines)


# Words.


def _read_sentence(content: bytes, folder: Path) -> None:
    (reading,) = parse_queries([content.decode("utf-8", "surrogateescape")])
    said = describe_query(reading)
    _check_message(said)
    (again,) = parse_queries([said])
    _demand((again.interval, again.ratings) == (reading.interval, reading.ratings), "an echo that does not read back")


# Settings.


def _read_config_toml(content: bytes, folder: Path) -> None:
    _print_config(_put(folder / "run.toml", content))


def _read_config_json(content: bytes, folder: Path) -> None:
    _print_config(_put(folder / "run.json", content))


def _print_config(path: Path) -> None:
    from conftest import call

    for command in ("train", "query"):
        outcome = call(command, "--config", path, "--print-config")
        _demand(outcome.code in (0, 2), f"exit code {outcome.code}")
        if outcome.code == 0:
            tomllib.loads(outcome.out)
        else:
            _check_message(outcome.err.removesuffix("\n"))


# Slices and what is kept of them.


def _read_dicom(content: bytes, folder: Path) -> None:
    path = _put(folder / "slice.dcm", content)
    for read in (check_ct_slice, read_patient_id):
        try:
            read(path)
        except InputError as error:
            _check_message(str(error))
    try:
        _cut(path, None)
    except SliceError as error:
        if error.code is not RejectCode.MULTI_FRAME:
            raise
        _check_message(str(error))
        _cut(path, 2.0)


def _cut(path: Path, frame: float | None) -> None:
    centers = ((8.0, 8.0), (0.0, 15.0), (400.0, 8.0))
    crops = cut_slice(SliceJob(str(path), frame, None, centers, (0, 1, 2), ""), SETTINGS)
    _demand(
        crops.shape == (3, SETTINGS.size_px, SETTINGS.size_px) and crops.dtype == np.int16, "crops of another shape"
    )


def _read_crop_entry(content: bytes, folder: Path) -> None:
    """Read an entry whose checksum is right, so that what it holds is looked at."""
    path = folder / "sound.dcm"
    if not path.exists():
        write_sound_slice(path)
    frame = pl.DataFrame(
        {schema.ABSOLUTE_PATH: [str(path)] * 2, schema.CENTER_X: [8.0, 3.5], schema.CENTER_Y: [8.0, 4.0]}
    )
    (job,) = make_jobs(frame, SETTINGS)
    entry = folder / "cache" / job.entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    _put(entry, content + zlib.crc32(content).to_bytes(4))
    cache = CropCache(folder / "cache", frame, SETTINGS)
    cache.fill(1)
    cache.read([row for row in (0, 1) if row not in {reject.row for reject in cache.rejects}])


def _read_condition(content: bytes, folder: Path) -> None:
    condition = parse_condition(content.decode("utf-8", "surrogateescape"))
    expression = build_expression(condition, CONDITION_ROWS.schema)
    met = CONDITION_ROWS.select(met=expression)["met"]
    _demand(met.dtype == pl.Boolean() and met.len() == CONDITION_ROWS.height, "more than a truth value a row")
    rendered = build_lance_filter(condition, CONDITION_ROWS.schema)
    _demand(rendered is None or rendered.isprintable(), "a filter that does not print")


# The index.


def _read_index_manifest(content: bytes, folder: Path) -> None:
    index = write_sound_index(folder / "index", rebind=False)
    _put(index / schema.INDEX_MANIFEST, content)
    _look_into_index(index)


def _read_index_meta(content: bytes, folder: Path) -> None:
    _look_into_index(_rebind(content, schema.META, folder))


def _read_index_embeddings(content: bytes, folder: Path) -> None:
    _look_into_index(_rebind(content, schema.EMBEDDINGS, folder))


def _rebind(content: bytes, name: str, folder: Path) -> Path:
    """Put a file into an index whose manifest names its size and hash, so that what it holds is looked at."""
    index = write_sound_index(folder / "index", rebind=False)
    _put(index / name, content)
    return write_sound_index(index, rebind=True)


def _look_into_index(folder: Path) -> None:
    index = open_index(folder)
    rows = index.read_rows([3, 0])
    _demand(rows.height == 2, "rows that are not those asked for")
    index.read_columns([schema.DIAMETER_MM])
    _demand(all(type(count) is int for count in (index.manifest.rows, index.manifest.emb)), "a count that is none")
    _demand(index.embeddings.shape == (index.manifest.rows, index.manifest.emb), "embeddings of another shape")


# Encoders.


def _read_text_tower(content: bytes, folder: Path) -> None:
    encoder = SentenceEncoder(_put(folder / schema.TEXT_TOWER, content))
    vectors = encoder.encode(["a lung nodule > 6 mm", "a solid lung nodule"])
    _demand(vectors.shape == (2, encoder.emb), "vectors of another shape")
    _demand(bool((np.linalg.norm(vectors, axis=1) < 1.001).all()), "vectors that are too long")
    probabilities = encoder.calibration.to_probability(np.clip(vectors, -1, 1))
    _demand(bool(((probabilities >= 0) & (probabilities <= 1)).all()), "a probability that is none")


def _read_text_metadata(content: bytes, folder: Path) -> None:
    """Read a sound encoder that carries any texts, a line each."""
    encoder = onnx.ModelProto.FromString(_sound_tower())
    lines = content.decode("utf-8", "replace").split("\n")
    onnx.helper.set_model_props(encoder, dict(zip(make_told(), lines, strict=False)))
    _read_text_tower(encoder.SerializeToString(), folder)


@functools.cache
def _sound_tower() -> bytes:
    return make_text_tower()


def _read_checkpoint(content: bytes, folder: Path) -> None:
    from noduleclip.models.checkpoint import hash_model, load_model

    model = load_model(_put(folder / schema.BEST_CHECKPOINT, content))
    hash_model(model)
    _demand(bool(model.log_scale.exp().isfinite() and model.bias.isfinite()), "a calibration that is not finite")


_TABLES, _INDEX = (InputError,), (ArtefactError, UsageError)

TARGETS = {
    target.name: target
    for target in (
        Target(_read_roi_csv, _TABLES, words.TABLE),
        Target(_read_roi_parquet, _TABLES, words.PARQUET),
        Target(_read_patients, _TABLES, words.TABLE),
        Target(_read_point_table, _TABLES, words.PLACES),
        Target(_read_data_list, _TABLES, words.PLACES),
        Target(_read_nndetection, _TABLES, words.PLACES),
        Target(_read_meta_image, _TABLES, words.META),
        Target(_read_nifti, _TABLES, words.NIFTI, imports=("nibabel",)),
        Target(_read_nrrd, _TABLES, words.NRRD, imports=("nrrd",)),
        Target(_read_segmentation, _TABLES, words.DICOM),
        Target(_read_report, _TABLES, words.DICOM),
        Target(_read_structure_set, _TABLES, words.DICOM),
        Target(_read_scores, _TABLES, words.SCORES),
        Target(_read_readers, _TABLES, words.TABLE),
        Target(_read_lidc_xml, (SliceError,), words.LIDC_XML),
        Target(_read_sentence, (UsageError,), words.SENTENCE),
        Target(_read_condition, (UsageError,), words.CONDITION),
        Target(_read_config_toml, (), words.CONFIG, imports=("conftest",)),
        Target(_read_config_json, (), words.CONFIG, imports=("conftest",)),
        Target(_read_dicom, (InputError,), words.DICOM),
        Target(_read_crop_entry, (), words.NPY),
        Target(_read_index_manifest, _INDEX, words.JSON),
        Target(_read_index_meta, _INDEX, words.PARQUET),
        Target(_read_index_embeddings, _INDEX, words.NPY),
        Target(_read_text_tower, (ArtefactError,), words.ONNX, restructure=change_graph),
        Target(_read_text_metadata, (ArtefactError,), words.TOLD),
        Target(_read_checkpoint, (ArtefactError,), words.PICKLE, imports=("noduleclip.models.checkpoint",)),
    )
}
