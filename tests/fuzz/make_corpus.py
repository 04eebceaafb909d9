"""Make the generated part of `corpus`: small sound files, and some unsound ones, from phantoms alone.

Regressions, the inputs that once broke the contract, lie beside them as `broke-WHY` and are left alone.
"""

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.sr.codedict import codes

from enhanced_ct import compress, enhance
from fuzz import sound
from importers import lidc_phantoms
from importers.lidc_phantoms import Curve
from importers.metaimages import write_mhd
from importers.region_reports import (
    CENTER,
    LONG_AXIS,
    MM,
    NONE,
    Drawn,
    make_number,
    write_cornerstone,
    write_regions,
)
from importers.segmentations import ReaderFinding, write_seg, write_sr
from importers.structure_sets import make_contour, make_structure_set, write_structure_set
from noduleclip import __version__, schema
from noduleclip.config import CropConfig, ModelConfig
from noduleclip.models.checkpoint import pack_model
from noduleclip.models.clip import ClipModel
from volume_files import write_nifti, write_nrrd

CORPUS = Path(__file__).parent / "corpus"
REGRESSION = "broke-"
BY_LIBRARIES = {
    "roi_parquet",
    "checkpoint",
    "index_meta",
    "dicom",
    "meta_image",
    "nifti",
    "nrrd",
    "segmentation",
    "structure_set",
    "report",
}
"""Targets whose files follow the versions of the libraries that write them."""

_TABLE = """dicom_path,diameter_mm,bbox_xmin,bbox_ymin,bbox_xmax,bbox_ymax,pixel_spacing_row,pixel_spacing_col,\
points_json,patient_id,nodule_id,texture
PHANTOM-0001/1.dcm,6.4,3,4,12,11,0.8,0.7,"[[3,4],[12,4],[12,11],[3,11]]",PHANTOM-0001,N1,5
PHANTOM-0001/1.dcm,7.0,3,4,12,12,0.8,0.7,"[[3,4],[12,4],[7.5,12]]",PHANTOM-0001,N1,4
PHANTOM-0002\\1.dcm,,1,1,2,2,0.8,0.7,,PHANTOM-0002,N2,
LIDC-IDRI-0003/1.dcm,12.5,0,0,15,15,,,,,,1
"""
_PLACE_TABLES = {
    "sound": """seriesuid,coordX,coordY,coordZ,diameter_mm,reader,malignancy
1.2.3.4.5.6.7,-128.7,-175.3,-298.4,5.65,1,4
1.2.3.4.5.6.7,103.8,-211.9,-227.1,4.22,2,
""",
    "lndb": """LNDbID,RadID,RadFindingID,FindingID,x,y,z,AgrLevel,Nodule,Volume,Text
1,"1,2","1,1",1,-68.5,-30.1,-120.2,2,1,310.2,4.5
2,3,1,1,1.5,2.5,3.5,1,0,20,
""",
    "lungx": """Scan Number,Nodule Number,"Nodule Center x,y Position*",Nodule Center Image,Final Diagnosis
LUNGx-CT001,1,"318, 367",145,Benign nodule
CT-Training-lc001,,120325,88,malignant
""",
    "boxes": """SAMPLE_ID,ct_path,seg_path,coordX,coordY,coordZ,w,h,d,score
A,a/b.nii.gz,c,1.5,2,3,4,5,6,0.5
""",
}
_ENTRY = {"image": "1.2.3.4.5.6.7/1.2.3.4.5.6.7.nii.gz", "box": [[-128.7, -175.3, -298.4, 5.6, 5.6, 5.6]], "label": [0]}
_SENTENCES = (
    "a lung nodule with diameter > 6 mm",
    "spiculated solid nodule between 6 and 10 mm",
    "malignancy >= 4 and not calcified, (6, 10] mm",
    "at most 1,5 cm or larger than 20 mm",
    "read as: diameter larger than 6 mm, (6, inf) mm; texture at least 4; note: not understood: lingula",
    "５ ㎜ × ７ ㎜ ± ½",
)
_CONDITIONS = (
    "diameter_mm > 4.5 AND NOT (row IN (1, 2) OR patient_id = 'b''c')",
    "patient_id LIKE 'a%' or diameter_mm not between 3 and 1e1",
    '`diameter_mm` IS NOT NULL AND 2 >= "row"',
    "diameter_mm IN (SELECT x FROM read_csv/**/('/etc/hostname'))",
)


def make_corpus() -> Iterator[tuple[str, str, bytes]]:
    """Return (target, name, content) of every generated input."""
    yield from (("roi_csv", name, content) for name, content in _make_tables())
    table = io.BytesIO()
    pl.read_csv(io.BytesIO(_TABLE.encode())).write_parquet(table)
    yield "roi_parquet", "sound.parquet", table.getvalue()
    yield "patients", "sound.txt", "\ufeff# a list\r\nPHANTOM-0001\r\n PHANTOM-0002 \r\n".encode()
    yield "scores", "sound.csv", b"row,small,> 6 mm\n0,0.1,0.9\n2,0.5,0.5\n1,1e-3,-2\n"
    yield "readers", "sound.csv", _TABLE.encode()
    yield "readers", "one-more-reader.csv", (_TABLE + _TABLE.splitlines()[1].replace("6.4", "6.5") + "\n").encode()
    yield from (("point_table", f"{name}.csv", text.encode()) for name, text in _PLACE_TABLES.items())
    yield "data_list", "sound.json", json.dumps({"training": [_ENTRY], "validation": [_ENTRY, _ENTRY]}).encode()
    yield "data_list", "results.json", json.dumps([_ENTRY | {"label_scores": [0.5]}]).encode()
    boxes = {str(number): {"score": 0.5, "label": 0, "box": [3, 9, 7, 20, 9, 20]} for number in (1, 2)}
    yield "nndetection", "sound.json", json.dumps(boxes, indent=4).encode()
    yield from (("meta_image", name, content) for name, content in _make_meta_images())
    yield from _make_volumes()
    yield from _make_segmentation()
    drawn = lidc_phantoms.Nodule([Curve(0), Curve(0, lidc_phantoms.HOLE, "FALSE"), Curve(1, [(5, 5)])])
    for name, root in (("sound.xml", "LidcReadMessage"), ("chest-x-ray.xml", "IdriReadMessage")):
        text = lidc_phantoms.make_xml(lidc_phantoms.PATIENTS[0], [[drawn], [], [drawn]], root=root, non_nodules=1)
        yield "lidc_xml", name, text.encode()
    for number, sentence in enumerate(_SENTENCES):
        yield "sentence", f"sound-{number}.txt", sentence.encode()
    for number, condition in enumerate(_CONDITIONS):
        yield "condition", f"sound-{number}.txt", condition.encode()
    yield from _make_configs()
    yield from (("dicom", name, content) for name, content in _make_slices())
    yield "crop_entry", "sound.npy", sound.make_array_file(np.zeros((2, 16, 16), np.int16))
    yield "index_meta", "sound.parquet", sound.make_meta_file()
    yield from (("index_manifest", name, content) for name, content in _make_manifests())
    yield "index_embeddings", "sound.npy", sound.make_array_file(sound.make_embeddings())
    yield "text_tower", "sound.onnx", sound.make_text_tower()
    yield "text_metadata", "sound.txt", "\n".join(sound.make_told().values()).encode()
    yield from (("checkpoint", name, content) for name, content in _make_checkpoints())


def _make_tables() -> Iterator[tuple[str, bytes]]:
    yield "sound.csv", _TABLE.encode()
    yield "crlf-bom.csv", ("\ufeff" + _TABLE.replace("\n", "\r\n")).encode()
    header, first = _TABLE.splitlines()[:2]
    plain = "[[3,4],[12,4],[12,11],[3,11]]"
    outlines = {
        "points-deep.csv": "[" * 500 + "]" * 500,
        "points-no-numbers.csv": '[[""a"",null],[{},[]],[true,false]]',
        "points-not-finite.csv": "[[NaN,1],[Infinity,2],[1e999,3]]",
        "points-far.csv": "[[99999,0],[-99999,99999],[0,-99999]]",
        "points-huge-number.csv": f"[[{'9' * 400},1],[1,2],[2,3]]",
        "points-many.csv": json.dumps([[k % 13, k % 11] for k in range(900)]).replace(" ", ""),
    }
    for name, points in outlines.items():
        yield name, f"{header}\n{first.replace(plain, points)}\n".encode()


def _make_meta_images() -> Iterator[tuple[str, bytes]]:
    values = np.arange(3 * 4 * 5, dtype="<i2").reshape(3, 4, 5) - 1000
    with tempfile.TemporaryDirectory() as folder:
        for name, compressed in (("sound.mha", False), ("compressed.mha", True)):
            yield name, write_mhd(Path(folder) / name, values, compressed=compressed).read_bytes()


def _make_volumes() -> Iterator[tuple[str, str, bytes]]:
    values = np.arange(3 * 4 * 5, dtype="<i2").reshape(3, 4, 5) - 1000
    affine = np.array([[0, 0.7, 0, -10], [0.7, 0, 0, 20], [0, 0, -2.5, 30], [0, 0, 0, 1]])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii"
        yield "nifti", "sound.nii", write_nifti(path, values, affine).read_bytes()
        yield "nifti", "sound-second.nii", write_nifti(path, values.astype(">f4"), affine, version=2).read_bytes()
        yield "nifti", "sound-qform.nii", write_nifti(path, values, affine, sform=False).read_bytes()
        for encoding in ("raw", "gzip", "bzip2"):
            path = write_nrrd(Path(folder) / "a.nrrd", values, affine, encoding=encoding)
            yield "nrrd", f"sound-{encoding}.nrrd", _leave_out_comments(path)
        fields = {"Segment0_LabelValue": "1", "Segment0_Name": "nodule", "space units": ["mm", "mm", "mm"]}
        path = write_nrrd(Path(folder) / "a.nrrd", values.astype("u1"), affine, encoding="raw", fields=fields)
        yield "nrrd", "labels.nrrd", _leave_out_comments(path)


def _leave_out_comments(path: Path) -> bytes:
    """Return a NRRD file without comments, which have the date."""
    head, blank, data = path.read_bytes().partition(b"\n\n")
    return b"\n".join(line for line in head.split(b"\n") if not line.startswith(b"#")) + blank + data


def _make_segmentation() -> Iterator[tuple[str, str, bytes]]:
    stored = sound.make_stored()
    slices = []
    for number in range(2):
        data = sound.make_slice(
            stored, SOPInstanceUID=f"1.2.3.{number + 1}", StudyInstanceUID="1.2", FrameOfReferenceUID="1.2.9",
            ImagePositionPatient=["0", "0", str(2.5 * number)], SliceThickness="2.5", StudyID="", StudyDate="",
            StudyTime="", AccessionNumber="", PatientName="", PatientBirthDate="", PatientSex="",
            ReferringPhysicianName="",
        )  # fmt: skip
        data.PixelData = stored.tobytes()
        slices.append(data)
    mask = np.zeros((2, *stored.shape), bool)
    mask[:, 3:9, 4:11] = True
    mask[0, 5, 6] = False
    readings = [ReaderFinding(mask)]
    with tempfile.TemporaryDirectory() as folder:
        seg, report = Path(folder) / "seg.dcm", Path(folder) / "sr.dcm"
        write_sr(report, slices, write_seg(seg, slices, readings), readings)
        yield "segmentation", "sound.dcm", seg.read_bytes()
        yield "segmentation", "label-map.dcm", _make_label_map(seg)
        yield "report", "sound.dcm", report.read_bytes()
        outer = np.array([[3.0, 3.0], [10.0, 3.0], [10.0, 8.0], [3.0, 8.0]])
        inner, point = outer / 2 + 2, outer[:1]
        contours = [make_contour((slices[0], outer)), make_contour((slices[0], inner))]
        rois = {"GTV-1": contours, "Lung": [make_contour((slices[1], point), kind="POINT")], "GTV-2": []}
        structures = write_structure_set(Path(folder) / "rt.dcm", make_structure_set(slices, rois))
        yield "structure_set", "sound.dcm", structures.read_bytes()
        yield from _make_region_reports(Path(folder), slices)


def _make_region_reports(folder: Path, slices: Sequence[Dataset]) -> Iterator[tuple[str, str, bytes]]:
    """Make reports with regions on slices and in space, and as Cornerstone3D writes them."""
    ring = np.array([[3.0, 3.0], [9.0, 3.0], [9.0, 8.0], [3.0, 3.0]])
    height = np.array([0.0, 0.0, 1.0])
    groups = [
        Drawn("CIRCLE", [ring[:2]], slices[:1], 4.5, codes.SCT.Estimated, tracking_uid="2.25.7"),
        Drawn("POLYLINE", [ring, ring], slices, ratings={schema.MALIGNANCY: 2}, tracking_uid="2.25.7"),
        Drawn("POLYGON", [np.column_stack([ring, np.zeros(4)])], slices[:1], in_space=True),
        Drawn("ELLIPSOID", [np.array([-3 * height, 3 * height] * 3)], slices[:1], in_space=True),
    ]
    yield "report", "regions.dcm", write_regions(folder / "regions.dcm", slices, groups).read_bytes()
    line = make_number(LONG_AXIS, 6.1, MM, "POLYLINE", ring[:2].tolist(), slices[0])
    point = make_number(CENTER, None, NONE, "POINT", ring[:1].tolist(), slices[1])
    path = write_cornerstone(folder / "cornerstone.dcm", slices[0], [[line], [point]])
    yield "report", "cornerstone.dcm", path.read_bytes()


def _make_label_map(path: Path) -> bytes:
    """Return a segmentation with its bits as labels of a byte each."""
    data = dcmread(path)
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    data.PixelData = bits[: data.NumberOfFrames * data.Rows * data.Columns].tobytes()
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.UID("1.2.840.10008.5.1.4.1.1.66.7")
    data.SegmentationType, data.BitsAllocated, data.BitsStored, data.HighBit = "LABELMAP", 8, 8, 7
    for groups in data.PerFrameFunctionalGroupsSequence:
        if "SegmentIdentificationSequence" in groups:
            del groups.SegmentIdentificationSequence
    content = io.BytesIO()
    data.save_as(content)
    return content.getvalue()


def _make_configs() -> Iterator[tuple[str, str, bytes]]:
    of_train = {
        "roi-csv": "roi.csv", "train-patients": "a.txt", "val-patients": "b.txt", "out": "run", "epochs": 3,
        "lr": 0.001, "device": "cpu", "workers": "2", "strict": True,
    }  # fmt: skip
    of_query = {"emb-dir": "index", "query": ["> 6 mm", "solid"], "top-k": 5}
    for name, values in (("train", of_train), ("query", of_query)):
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        yield "config_toml", f"{name}.toml", ("\n".join(lines) + "\n").encode()
        record = {"arguments": {key.replace("-", "_"): value for key, value in values.items()}, "version": "1"}
        yield "config_json", f"{name}.json", json.dumps(record, indent=1).encode()


def _make_manifests() -> Iterator[tuple[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        index = sound.write_sound_index(Path(folder) / "index", rebind=False)
        manifest = (index / schema.INDEX_MANIFEST).read_bytes()
    manifest = manifest.replace(f'"made_by": "{__version__}"'.encode(), b'"made_by": "0.1.0"')  # whatever makes it
    yield "sound.json", manifest
    older = {name: value for name, value in json.loads(manifest).items() if name not in ("unit", "views", "precision")}
    older["schema_version"] = schema.OUTLINE_SCHEMA_VERSION
    yield "version-2.json", json.dumps(older, indent=2).encode()


def _make_slices() -> Iterator[tuple[str, bytes]]:
    stored = sound.make_stored()
    eight = (stored >> 4).astype(np.uint8)
    yield "explicit.dcm", _pack_slice(stored, uid.ExplicitVRLittleEndian, stored.tobytes())
    yield "implicit.dcm", _pack_slice(stored, uid.ImplicitVRLittleEndian, stored.tobytes())
    yield "big-endian.dcm", _pack_slice(stored, uid.ExplicitVRBigEndian, stored.byteswap().tobytes())
    yield "deflated.dcm", _pack_slice(stored, uid.DeflatedExplicitVRLittleEndian, stored.tobytes())
    for name, syntax in {"rle": uid.RLELossless, "jpeg-ls": uid.JPEGLSLossless}.items():
        pixels = encapsulate([_encode(stored, syntax)])
        yield f"{name}.dcm", _pack_slice(stored, syntax, pixels)
        yield f"{name}-claims-4096.dcm", _pack_slice(stored, syntax, pixels, Rows=4096, Columns=4096)
    yield "jpeg.dcm", _pack_slice(eight, uid.JPEGBaseline8Bit, encapsulate([_save_image(eight, "JPEG")]))
    yield "jpeg-2000.dcm", _pack_slice(stored, uid.JPEG2000Lossless, encapsulate([_save_image(stored, "JPEG2000")]))
    aligned = {"BitsStored": 12, "HighBit": 15, "RescaleType": "Houndsfield Unit"}
    yield "left-aligned.dcm", _pack_slice(stored << 4, uid.ExplicitVRLittleEndian, (stored << 4).tobytes(), **aligned)
    stream = _encode(stored, uid.JPEGLSLossless).rstrip(b"\0").removesuffix(b"\xff\xd9")
    zeros = encapsulate([stream + b"\0\0\xff\xd9\xff"])
    yield "jpeg-ls-zeros-before-end.dcm", _pack_slice(stored, uid.JPEGLSLossless, zeros)
    with tempfile.TemporaryDirectory() as folder:
        plain, scratch = Path(folder) / "plain.dcm", Path(folder) / "scratch.dcm"
        sound.write_sound_slice(plain)
        by_gdcm = {
            "jpeg-lossless-sv1.dcm": uid.JPEGLosslessSV1,
            "jpeg-lossless.dcm": uid.JPEGLossless,
            "jpeg-12-bit.dcm": uid.JPEGExtended12Bit,
        }
        for name, syntax in by_gdcm.items():
            yield name, _pack_slice(stored, syntax, encapsulate([compress(plain, scratch, syntax)]))
        slices = [pydicom.dcmread(plain)] * 3
        yield "enhanced.dcm", enhance(slices, scratch).read_bytes()
        deflated = uid.DeflatedExplicitVRLittleEndian
        yield "enhanced-deflated.dcm", enhance(slices, scratch, syntax=deflated).read_bytes()
        implicit = enhance(slices, scratch, syntax=uid.ImplicitVRLittleEndian, undefined_lengths=True)
        yield "enhanced-implicit.dcm", implicit.read_bytes()
        yield "enhanced-rle.dcm", enhance(slices, scratch, change=_pack_frames).read_bytes()


def _pack_frames(volume: Dataset) -> None:
    volume.file_meta.TransferSyntaxUID = uid.RLELossless
    volume.PixelData = encapsulate([_encode(sound.make_stored(), uid.RLELossless)] * 3)
    volume["PixelData"].VR = "OB"


def _encode(stored: NDArray[np.uint16], syntax: uid.UID) -> bytes:
    frame: bytes = get_encoder(syntax).encode(
        stored,
        rows=stored.shape[0],
        columns=stored.shape[1],
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=12,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return frame


def _pack_slice(stored: NDArray[np.generic], syntax: str, pixels: bytes, **changes: object) -> bytes:
    header = sound.make_slice(stored, syntax, **changes)
    header.PixelData = pixels
    header["PixelData"].VR = "OB" if uid.UID(syntax).is_encapsulated else "OW"
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _save_image(stored: NDArray[np.generic], form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(stored).save(file, form, no_jp2=True)
    return file.getvalue()


def _make_checkpoints() -> Iterator[tuple[str, bytes]]:
    config = ModelConfig(
        backbone="test_mambaout", emb=8, outline_width=1, text_width=16, text_layers=1, crop=CropConfig(size_px=16)
    )
    model = ClipModel(config, sound.VOCABULARY)
    for tensor in model.parameters():
        tensor.data.zero_()
    values = pack_model(model)
    yield "sound.pth", _save(values)
    yield "no-weights.pth", _save({**values, "image_encoder": {}, "text_encoder": {}})
    file = io.BytesIO()
    torch.save({"schema_version": schema.CHECKPOINT_SCHEMA_VERSION}, file, _use_new_zipfile_serialization=False)
    yield "legacy.pth", file.getvalue()


def _save(values: dict[str, object]) -> bytes:
    file = io.BytesIO()
    torch.save(values, file)
    return file.getvalue()


def main() -> None:
    """Write the corpus."""
    for target, name, content in make_corpus():
        path = CORPUS / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
