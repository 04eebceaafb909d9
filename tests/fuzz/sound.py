"""Small sound files of every kind that is read: what the corpus is made of, and what stands beside an input."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import polars as pl
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig
from noduleclip.language.vocabulary import Vocabulary
from noduleclip.phantom.tissue import draw_phantom_slice
from stores import write_manifest

TOWERS = Path(__file__).parents[1] / "retrieval" / "encoders"
ROWS, EMB, SIDE_PX = 7, 8, 16
_KEPT_META = Path(__file__).parent / "corpus" / "index_meta" / "sound.parquet"
VOCABULARY = Vocabulary(("a", "lung", "nodule"), attributes=(schema.TEXTURE,))
MODEL = ModelConfig(emb=EMB, crop=CropConfig(fov_mm=40, windows_hu=((-1000, 400),)))


def make_stored() -> NDArray[np.uint16]:
    """A nodule of 6 mm in (16, 16) stored values of 12 bits."""
    hu = draw_phantom_slice(6.0, spacing_yx_mm=(0.8, 0.7), matrix_px=SIDE_PX)
    return np.clip(np.rint(hu + 1024), 0, 4095).astype("<u2")


def make_slice(stored: NDArray[np.generic], syntax: str = uid.ExplicitVRLittleEndian, **changes: object) -> Dataset:
    """A CT slice without its pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.ImplementationClassUID, meta.ImplementationVersionName = uid.UID("1.2.3.9"), "FUZZ"
    header = Dataset()
    header.file_meta = meta
    values: dict[str, object] = {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "SOPClassUID": uid.CTImageStorage,
        "SOPInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3",
        "Modality": "CT",
        "PatientID": "PHANTOM-0001",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "PixelSpacing": ["0.8", "0.7"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "BitsAllocated": 8 * stored.itemsize,
        "BitsStored": 12 if stored.itemsize == 2 else 8,
        "HighBit": 11 if stored.itemsize == 2 else 7,
        "PixelRepresentation": 0,
        "PixelPaddingValue": 0,
        "RescaleSlope": "1",
        "RescaleIntercept": "-1024",
        "RescaleType": "HU",
    }
    for keyword, value in (values | changes).items():
        setattr(header, keyword, value)
    return header


def write_sound_slice(path: Path) -> None:
    """Write a slice that is not compressed."""
    stored = make_stored()
    header = make_slice(stored)
    header.PixelData = stored.tobytes()
    header["PixelData"].VR = "OW"
    header.save_as(path, enforce_file_format=True)


def make_meta() -> pl.DataFrame:
    """The metadata of an index of seven rows."""
    numbers = range(1, ROWS + 1)
    return pl.DataFrame(
        {
            schema.DICOM_PATH: [f"PHANTOM-000{row}/1.dcm" for row in numbers],
            schema.DIAMETER_MM: [None, *(float(row) for row in range(2, ROWS + 1))],
            schema.PATIENT_ID: [f"PHANTOM-000{row}" for row in numbers],
            schema.NODULE_ID: [f"N{row}" for row in numbers],
            schema.TEXTURE: [float(1 + row % 5) for row in numbers],
        }
    )


def make_embeddings() -> NDArray[np.float32]:
    """Unit vectors along the axes."""
    return np.eye(ROWS, EMB, dtype=np.float32)


def make_array_file(values: NDArray[np.generic]) -> bytes:
    """Return the bytes of an .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def make_meta_file() -> bytes:
    """Return the bytes of meta.parquet."""
    file = io.BytesIO()
    make_meta().write_parquet(file)
    return file.getvalue()


def write_sound_index(folder: Path, *, rebind: bool) -> Path:
    """Write an index, or write the manifest of the files that are there anew."""
    if not rebind:
        folder.mkdir(exist_ok=True)
        contents = {
            schema.EMBEDDINGS: make_array_file(make_embeddings()),
            schema.META: _KEPT_META.read_bytes(),  # another polars writes other bytes, and manifests hold their hash
            schema.TEXT_TOWER: b"tower",
        }
        for name, content in contents.items():
            (folder / name).unlink(missing_ok=True)  # an earlier one may still be mapped
            (folder / name).write_bytes(content)
    if rebind or not (folder / schema.INDEX_MANIFEST).exists():
        write_manifest(
            folder, model_id="m1", checkpoint_sha256="c1", model=MODEL, rows=ROWS, scale=10.0, bias=-2.5
        )  # fmt: skip
    return folder


def make_told() -> dict[str, str]:
    """The texts that a text encoder carries."""
    return {"scale": "10.0", "bias": "-2.5", "model_id": "m1", "vocabulary": json.dumps(VOCABULARY.to_mapping())}


def make_text_tower() -> bytes:
    """A text encoder as torch 2.8 wrote it, with a table for `VOCABULARY`."""
    model = onnx.load(TOWERS / "torch-2.8.onnx")
    width = 16
    table = np.linspace(-1, 1, VOCABULARY.size * width, dtype=np.float32).reshape(-1, width)
    entries = next(tensor for tensor in model.graph.initializer if tensor.name == "entries.weight")
    entries.CopyFrom(numpy_helper.from_array(table, entries.name))
    helper.set_model_props(model, make_told())
    packed: bytes = model.SerializeToString()
    return packed
