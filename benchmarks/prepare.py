"""A tree of LIDC-IDRI's shape through `prepare lidc`: `python benchmarks/prepare.py OUT [SLICES]`.

Makes series of 240 slices with headers like LIDC's, 512 x 512 pixels that are never written (sparse files), and
annotation files of four readers; seven nodules and twenty other marks each. Prints seconds, processor time and the
largest resident memory of one process: first run, second run, and one after a tenth of the headers was forgotten.
"""

import math
import random
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import polars as pl
from growth import run
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO

SLICES_A_SERIES, SIDE_PX = 240, 512
READERS, NODULES, OTHERS = 4, 7, 20
ROOT = "1.3.6.1.4.1.14519.5.2.1.6279.6001."
_SOP, _Z = "9" * 12, "-1234.50"


def make_header(series: int) -> bytes:
    """Return a slice's file up to its pixels, with a mark where its UID and its height go."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = uid.CTImageStorage, ROOT + _SOP
    header.StudyInstanceUID, header.SeriesInstanceUID = f"{ROOT}1.{series}", f"{ROOT}2.{series}"
    header.PatientID, header.Modality, header.Manufacturer = f"LIDC-IDRI-{series:04}", "CT", "GE MEDICAL SYSTEMS"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        setattr(header, name, "20000101")
    for name in (
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyTime",
        "PatientName",
        "PatientBirthDate",
        "StudyID",
    ):
        setattr(header, name, "")
    header.ManufacturerModelName, header.BodyPartExamined, header.PatientSex = "LightSpeed Plus", "CHEST", "O"
    header.ScanOptions, header.KVP, header.FilterType, header.ConvolutionKernel = "HELICAL MODE", "120", "BODY", "BONE"
    header.SliceThickness, header.GantryDetectorTilt, header.TableHeight = "2.5", "0", "144.4"
    header.DataCollectionDiameter, header.ReconstructionDiameter = "500", "360"
    header.XRayTubeCurrent, header.GeneratorPower, header.FocalSpots = "400", "48000", "1.2"
    header.PatientPosition, header.SeriesNumber, header.AcquisitionNumber, header.InstanceNumber = "FFS", 1, 1, 1
    header.ImagePositionPatient = ["-166.0", "-171.7", _Z]
    header.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = f"{ROOT}3.{series}", "SN"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows = header.Columns = SIDE_PX
    header.PixelSpacing = ["0.703125", "0.703125"]
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation, header.PixelPaddingValue = 15, 1, -2000
    header.WindowCenter, header.WindowWidth, header.RescaleIntercept, header.RescaleSlope = "-600", "1600", "-1024", "1"
    header.PixelData, header["PixelData"].VR = b"", "OW"
    file = DicomBytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()[:-4] + (2 * SIDE_PX**2).to_bytes(4, "little")


def make_series(root: Path, series: int) -> None:
    """Write the slices, in files that are not in the order of their heights, and the annotation beside them."""
    folder = root / f"LIDC-IDRI-{series:04}" / f"{ROOT}1.{series}" / f"{ROOT}2.{series}"
    folder.mkdir(parents=True)
    random_numbers = random.Random(series)
    names = random_numbers.sample(range(SLICES_A_SERIES), SLICES_A_SERIES)
    header = make_header(series)
    for k, name in enumerate(names):
        content = header.replace(_SOP.encode(), name_slice(series, k).encode()).replace(_Z.encode(), height(k).encode())
        with (folder / f"{name:06}.dcm").open("wb") as file:
            file.write(content)
            file.truncate(len(content) + 2 * SIDE_PX**2)
    sessions = "".join(make_session(series, random_numbers) for _ in range(READERS))
    (folder / f"{series:03}.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{ROOT}2.{series}</SeriesInstanceUid><DateService>2008-08-18</DateService>"
        f"<TimeService>02:05:51</TimeService></ResponseHeader>{sessions}</LidcReadMessage>"
    )


def name_slice(series: int, k: int) -> str:
    """Return the end of a slice's UID, of fixed length."""
    return f"1{series:05}{k:06}"


def height(k: int) -> str:
    """Return a slice's height as text of fixed length."""
    return f"{-600 + 2.5 * k:08.2f}"


def make_session(series: int, random_numbers: random.Random) -> str:
    """Return one reader's marks: outlines near places that all readers of a series share, and points."""
    nodules = []
    for nodule in range(NODULES if random_numbers.random() < 0.5 else NODULES // 3):
        middle, x, y = 20 + 28 * nodule, 150 + 25 * nodule, 200 + 10 * nodule
        rated = "".join(f"<{name}>4</{name}>" for name in ("subtlety", "texture", "malignancy", "calcification"))
        radius = random_numbers.uniform(4, 9)
        rois = "".join(make_roi(series, middle + step, x, y, radius) for step in range(-3, 4))
        nodules.append(
            f"<unblindedReadNodule><noduleID>{nodule}</noduleID><characteristics>{rated}</characteristics>{rois}"
            "</unblindedReadNodule>"
        )
    point = f"<imageSOP_UID>{ROOT}{name_slice(series, 5)}</imageSOP_UID>"
    others = f"<nonNodule><nonNoduleID>1</nonNoduleID>{point}</nonNodule>" * OTHERS
    return f"<readingSession>{''.join(nodules)}{others}</readingSession>"


def make_roi(series: int, k: int, x: int, y: int, radius_px: float) -> str:
    """Return a circle on a slice."""
    turns = [turn * 2 * math.pi / 40 for turn in range(41)]
    edges = "".join(
        f"<edgeMap><xCoord>{x + round(radius_px * math.cos(turn))}</xCoord>"
        f"<yCoord>{y + round(radius_px * math.sin(turn))}</yCoord></edgeMap>"
        for turn in turns
    )
    return (
        f"<roi><imageZposition>{height(k)}</imageZposition><imageSOP_UID>{ROOT}{name_slice(series, k)}</imageSOP_UID>"
        f"<inclusion>TRUE</inclusion>{edges}</roi>"
    )


def make_tree(root: Path, slices: int) -> None:
    """Write series until there are enough slices."""
    for series in range(1, -(-slices // SLICES_A_SERIES) + 1):
        make_series(root, series)


def count_seconds() -> float:
    """Return the processor time of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Make the tree and prepare it."""
    out, slices = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    tree, prepared = out / f"tree{slices}", out / f"prepared{slices}"
    if not tree.exists():
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a command's peak counts that of its parent
            pool.submit(make_tree, tree, slices).result()
    command = ("prepare", "lidc", "--data-root", tree, "--out", prepared, "--overwrite")
    print(f"| {slices:,} slices | s | s of processor time | largest process, MB |\n|---|---|---|---|")
    for name in ("first run", "second run", "a tenth forgotten"):
        if name == "a tenth forgotten":
            kept = prepared / ".catalogue" / "catalogue.parquet"
            known = pl.read_parquet(kept)
            known.head(known.height * 9 // 10).write_parquet(kept)
        before = count_seconds()
        seconds, peak = run(*command)
        print(f"| {name} | {seconds:.1f} | {count_seconds() - before:.1f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
