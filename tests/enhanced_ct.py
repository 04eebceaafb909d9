"""Enhanced CT made from single slices, and single slices written in other transfer syntaxes."""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import gdcm
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

MACROS = {
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
}
Change = Callable[[Dataset], None]


def make_group(**macros: dict[str, object]) -> Dataset:
    """Make an item of functional groups: `PixelMeasuresSequence={"PixelSpacing": [1, 1]}`."""
    group = Dataset()
    for name, values in macros.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(group, name, [item])
    return group


def enhance(
    slices: Sequence[Dataset],
    path: Path,
    *,
    syntax: str = uid.ExplicitVRLittleEndian,
    undefined_lengths: bool = False,
    change: Change = lambda _: None,
) -> Path:
    """Write slices as the frames of one enhanced CT image whose frames say all of themselves.

    Args:
        slices: Decoded images of one shape, as `pydicom.dcmread` gives them.
        path: File to write.
        syntax: Native transfer syntax.
        undefined_lengths: Write the functional groups with delimiters instead of lengths.
        change: Called with the data set before it is written.
    """
    first = slices[0]
    volume = Dataset()
    volume.file_meta = FileMetaDataset()
    volume.file_meta.TransferSyntaxUID = uid.UID(syntax)
    volume.SOPClassUID, volume.SOPInstanceUID = uid.EnhancedCTImageStorage, "1.2.3.4"
    volume.ImageType, volume.NumberOfFrames = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], len(slices)
    for keyword in (
        *("Modality", "PatientID", "SeriesInstanceUID", "SamplesPerPixel", "PhotometricInterpretation"),
        *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    ):
        setattr(volume, keyword, first[keyword].value)
    volume.PerFrameFunctionalGroupsSequence = [
        make_group(
            CTImageFrameTypeSequence={"FrameType": ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]},
            **{name: {keyword: one[keyword].value for keyword in keywords} for name, keywords in MACROS.items()},
        )
        for one in slices
    ]
    if undefined_lengths:
        _drop_lengths(volume, "PerFrameFunctionalGroupsSequence")
    order: Literal[">", "<"] = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    stored = [one.pixel_array for one in slices]
    volume.add_new("PixelData", "OW", b"".join(a.astype(a.dtype.newbyteorder(order)).tobytes() for a in stored))
    change(volume)
    volume.save_as(path, enforce_file_format=True)
    return path


def convert_series(folder: Path, uid_: str = "1.2.3.4") -> dict[str, int]:
    """Write the slices in a folder as the frames of one enhanced CT in their place, from the head to the feet.

    References in other files of the folder, as in segmentations and reports, are made references to the frames.

    Args:
        folder: Folder of one series, and of files that refer to it.
        uid_: SOP Instance UID of the enhanced CT.

    Returns:
        The frame of each slice, by its SOP Instance UID.
    """
    read = {path: pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))}
    slices = [one for one in read.values() if one.Modality == "CT"]
    slices.sort(key=lambda one: -float(one.ImagePositionPatient[2]))
    frames = {str(one.SOPInstanceUID): frame for frame, one in enumerate(slices, 1)}

    def place(volume: Dataset) -> None:
        volume.SOPInstanceUID = volume.file_meta.MediaStorageSOPInstanceUID = uid.UID(uid_)
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "Manufacturer", "SeriesDescription"):
            if keyword in slices[0]:
                setattr(volume, keyword, slices[0][keyword].value)
        for group, one in zip(volume.PerFrameFunctionalGroupsSequence, slices, strict=True):
            group.update(make_group(PlanePositionSequence={"ImagePositionPatient": one.ImagePositionPatient}))
            if "SliceThickness" in one:
                group.PixelMeasuresSequence[0].SliceThickness = one.SliceThickness

    for path, one in read.items():
        if one.Modality == "CT":
            path.unlink()
        else:
            refer_to_frames(one, frames, uid_)
            one.save_as(path)
    for one in slices:
        if "RescaleType" not in one:
            one.RescaleType = "HU"
    enhance(slices, folder / "volume.dcm", change=place)
    return frames


def refer_to_frames(dataset: Dataset, frames: Mapping[str, int], uid_: str) -> None:
    """Make references to slices, at any depth, references to frames."""
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            refer_to_frames(item, frames, uid_)
    frame = frames.get(str(dataset.get("ReferencedSOPInstanceUID", "")))
    if frame is not None:
        dataset.ReferencedSOPClassUID = uid.EnhancedCTImageStorage
        dataset.ReferencedSOPInstanceUID, dataset.ReferencedFrameNumber = uid_, frame


def _drop_lengths(dataset: Dataset, keyword: str) -> None:
    dataset[keyword].is_undefined_length = True
    for item in dataset[keyword].value:
        item.is_undefined_length_sequence_item = True
        for element in item:
            if element.VR == "SQ":
                _drop_lengths(item, element.keyword)


def transcode(source: Path, target: Path, syntax: str) -> Path:
    """Write a native single-frame file in another transfer syntax; compression is lossless."""
    read = pydicom.dcmread(source)
    dataset = Dataset({element.tag: element for element in read})  # one that was read keeps its order of bytes
    dataset.file_meta = read.file_meta
    if uid.UID(syntax).is_encapsulated:
        dataset.PixelData = encapsulate([compress(source, target, syntax)])
    elif syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = read.pixel_array.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.save_as(target, enforce_file_format=True)
    return target


def compress(source: Path, scratch: Path, syntax: str) -> bytes:
    """Return the compressed stream of a native single-frame file."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(scratch))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return next(generate_frames(pydicom.dcmread(scratch).PixelData, number_of_frames=1))


def carry_streams(
    volume: Dataset, streams: Sequence[bytes], syntax: str, table: str = "basic", fragments: int = 1
) -> None:
    """Put compressed frames into an enhanced CT, with a table of offsets that is "basic", "extended" or "none"."""
    volume.file_meta.TransferSyntaxUID = uid.UID(syntax)
    if table == "extended":
        volume.PixelData, volume.ExtendedOffsetTable, volume.ExtendedOffsetTableLengths = encapsulate_extended(
            list(streams)
        )
    else:
        volume.PixelData = encapsulate(list(streams), fragments_per_frame=fragments, has_bot=table == "basic")
    volume["PixelData"].VR = "OB"
    volume["PixelData"].is_undefined_length = True


def nest(depth: int) -> bytes:
    """Return per-frame functional groups in each other, without an end, in explicit VR little endian."""
    sequence = struct.pack("<HH2sHI", 0x5200, 0x9230, b"SQ", 0, 0xFFFFFFFF)
    return (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


def hu_of(dataset: Dataset) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the Hounsfield units of a decoded slice."""
    stored: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = dataset.pixel_array.astype(np.float64)
    return np.maximum(stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept), -1024)
