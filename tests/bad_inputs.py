"""The bad inputs of docs/reference/bad-inputs.md: what is done with each, and what the user reads."""

import hashlib
import io
import json
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
import torch
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from conftest import Collection, Command, Outcome, train_arguments
from noduleclip import schema
from noduleclip.io.dicom import pixels as dicom_pixels
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.index.open import open_index
from noduleclip.models.checkpoint import read_checkpoint

HEADER = ",".join(schema.REQUIRED_COLUMNS)


@dataclass(frozen=True)
class World:
    """What a case has to work with.

    Attributes:
        call: The command.
        collection: Phantoms.
        checkpoint: A model trained on them.
        cache: A crop cache that holds its exported encoders.
        index: All phantoms embedded with it.
        folder: A folder of the case's own.
        patch: Undone after the case.
    """

    call: Command
    collection: Collection
    checkpoint: Path
    cache: Path
    index: Path
    folder: Path
    patch: pytest.MonkeyPatch

    def sound_slice(self) -> Path:
        """A phantom's slice."""
        return self.collection.roi_csv.parent / str(pl.read_csv(self.collection.roi_csv)[0, schema.DICOM_PATH])

    def write_slice(self, name: str = "bad.dcm", **changes: object) -> Path:
        """Write that slice with other elements; None deletes one."""
        dataset = pydicom.dcmread(self.sound_slice())
        if "syntax" in changes:
            dataset.file_meta.TransferSyntaxUID = uid.UID(str(changes.pop("syntax")))
        with pydicom.config.disable_value_validation():
            for keyword, value in changes.items():
                if value is None:
                    del dataset[keyword]
                else:
                    setattr(dataset, keyword, value)
            dataset.save_as(self.folder / name)
        return self.folder / name

    def write_bytes(self, content: bytes, name: str = "bad.dcm") -> Path:
        """Write a file."""
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def table(self, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
        """Write a ROI table."""
        path = self.folder / "rois.csv"
        path.write_bytes("\n".join([header, *rows, ""]).encode(encoding))
        return path

    def embed(self, table: Path, *more: object) -> Outcome:
        """Embed a table."""
        return self.call(
            "embed", "--roi-csv", table, "--model", self.checkpoint, "--out-dir", self.folder / "index",
            "--cache-dir", self.cache, "--overwrite", *more,
        )  # fmt: skip

    def embed_beside(self, *rows: str, header: str = HEADER) -> tuple[Outcome, pl.DataFrame]:
        """Embed rows beside ten sound ones: how it ended, and what was rejected."""
        commas = "," * (header.count(",") - HEADER.count(","))
        sound = [f"{self.sound_slice()},7,{40 + at},40,{50 + at},50{commas}" for at in range(10)]
        done = self.embed(self.table(*rows, *sound, header=header), "--max-rejects", 0.5)
        assert done.code == 0, done.err
        rejects = self.folder / "index" / schema.REJECTS_CSV
        found = pl.read_csv(rejects) if rejects.exists() else pl.DataFrame()
        assert open_index(self.folder / "index").manifest.rows == 10 + len(rows) - found.height
        return done, found

    def reject(self, code: str, *paths: Path) -> str:
        """Show that slices cost their own rows and no other, for one reason; give it."""
        _, found = self.embed_beside(*(f"{path},7,40,40,50,50" for path in paths))
        assert found[schema.CSV_ROW].to_list() == list(range(1, len(paths) + 1))
        assert set(found[schema.REJECT_CODE]) == {code}, found[schema.REJECT_REASON].to_list()
        return f"row rejected: `{code}`, {found[0, schema.REJECT_REASON]}"

    def refuse(self, code: int, *arguments: object) -> str:
        """Show that a command ends in one line and its code; give them."""
        done = self.call(*arguments)
        assert done.code == code, done.err
        *before, last = done.err.splitlines()
        assert last.startswith("error: ")
        assert not any("Traceback" in line for line in before)
        return f"exit {code}: {last.removeprefix('error: ')}"

    def refuse_table(self, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> str:
        """Show that a table is refused; give what is said."""
        return self.refuse(3, "check", "--roi-csv", self.table(*rows, header=header, encoding=encoding))


Case = Callable[[World], str]
CASES: dict[int, tuple[str, Case]] = {}
PROVED_ELSEWHERE: dict[int, tuple[str, str, str]] = {}  # given, told, and the test


def case(number: int, given: str) -> Callable[[Case], Case]:
    """Enter a case under the number of its row."""

    def enter(act: Case) -> Case:
        CASES[number] = (given, act)
        return act

    return enter


@case(1, "truncated pixel data")
def _(world: World) -> str:
    return world.reject("truncated-pixels", world.write_bytes(world.sound_slice().read_bytes()[:-2000]))


@case(2, "truncated header")
def _(world: World) -> str:
    return world.reject("truncated-header", world.write_bytes(world.sound_slice().read_bytes()[:400]))


@case(3, "text file, .DS_Store, DICOM without its preamble, empty file")
def _(world: World) -> str:
    content = world.sound_slice().read_bytes()
    odd = (b"some text" * 40, b"\0\0\0\1Bud1" + bytes(600), content[132:])
    told = world.reject("not-dicom", *(world.write_bytes(odd[at], f"{at}.dcm") for at in range(3)))
    world.reject("empty-file", world.write_bytes(b""))
    return told


@case(4, "PixelSpacing missing")
def _(world: World) -> str:
    path = world.write_slice(PixelSpacing=None, ImagerPixelSpacing=[0.3, 0.3])
    with_spacing = f"{HEADER},{schema.SPACING_ROW},{schema.SPACING_COL}"
    _, found = world.embed_beside(f"{path},7,40,40,50,50,0.7,0.7", header=with_spacing)
    assert found.height == 0
    return world.reject("no-spacing", path)


@case(5, "PixelSpacing 0, negative, three values; the table's differs by more than 1 %")
def _(world: World) -> str:
    wrong = ([0, 0.7], [0.7, -0.7], [0.7, 0.7, 0.7])
    told = world.reject("bad-spacing", *(world.write_slice(f"{at}.dcm", PixelSpacing=wrong[at]) for at in range(3)))
    assert read_ct_slice(world.write_slice(PixelSpacing=[0.5, 0.9])).spacing_yx_mm == (0.5, 0.9)
    header = f"{HEADER},{schema.SPACING_ROW},{schema.SPACING_COL}"
    _, found = world.embed_beside(f"{world.sound_slice()},7,40,40,50,50,9,9", header=header)
    assert found[schema.REJECT_CODE].to_list() == ["spacing-mismatch"]
    return told


@case(6, "RescaleSlope or Intercept missing")
def _(world: World) -> str:
    path = world.write_slice(RescaleSlope=None)
    assert world.embed(world.table(f"{path},7,40,40,50,50"), "--assume-hu").code == 0
    return world.reject("no-rescale", path)


@case(7, "RescaleSlope 0, empty, not a number")
def _(world: World) -> str:
    not_a_number = world.write_slice("nan.dcm", RescaleSlope="7.75")
    not_a_number.write_bytes(not_a_number.read_bytes().replace(b"7.75", b"NaN "))
    zero, empty = world.write_slice("zero.dcm", RescaleSlope=0), world.write_slice("empty.dcm", RescaleSlope="")
    return world.reject("bad-rescale", zero, empty, not_a_number)


@case(8, "Modality LUT sequence")
def _(world: World) -> str:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "HU", bytes(4)
    return world.reject("modality-lut", world.write_slice(ModalityLUTSequence=[table]))


@case(9, "padding -2000, -2048, -3024 outside the field of view")
def _(world: World) -> str:
    stored = pydicom.dcmread(world.sound_slice()).pixel_array.astype("<i2")
    for padding in (-2000, -2048, -3024):
        stored[:5] = padding
        path = world.write_slice(PixelData=stored.tobytes(), PixelRepresentation=1, BitsStored=16, HighBit=15)
        assert (read_ct_slice(path).hu[:5] == -1024).all()
    return "used: they count as air, -1024 HU"


@case(10, "MONOCHROME1")
def _(world: World) -> str:
    path = world.write_slice(PhotometricInterpretation="MONOCHROME1")
    assert (read_ct_slice(path).hu == read_ct_slice(world.sound_slice()).hu).all()
    return "used: the Hounsfield units are those of the same slice as MONOCHROME2"


@case(11, "multi-frame, enhanced CT")
def _(world: World) -> str:
    dataset = pydicom.dcmread(world.sound_slice())
    path = world.write_slice(NumberOfFrames=2, PixelData=dataset.PixelData + bytes(len(dataset.PixelData)))
    _, found = world.embed_beside(f"{path},7,40,40,50,50,1", header=f"{HEADER},{schema.FRAME}")
    assert found.height == 0
    return world.reject("multi-frame", path)


@case(12, "RGB, secondary capture, chest X-ray, localizer, coronal plane, DICOMDIR")
def _(world: World) -> str:
    world.reject("colour", world.write_slice(SamplesPerPixel=3, PhotometricInterpretation="RGB"))
    world.reject("localizer", world.write_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    world.reject("not-axial", world.write_slice(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
    capture = world.write_slice("capture.dcm", SOPClassUID=uid.SecondaryCaptureImageStorage)
    directory = Dataset()
    directory.FileSetID, directory.DirectoryRecordSequence = "DISC", []
    directory.file_meta = pydicom.dcmread(world.sound_slice()).file_meta
    directory.file_meta.MediaStorageSOPClassUID = uid.MediaStorageDirectoryStorage
    directory.save_as(world.folder / "DICOMDIR", enforce_file_format=True)
    paths = world.write_slice("xray.dcm", Modality="DX"), capture, world.folder / "DICOMDIR"
    return world.reject("not-ct", *paths)


@case(13, "compressed, decoder missing")
def _(world: World) -> str:
    class _Bare:
        available_plugins = ()

    path = world.write_slice(syntax=uid.JPEGLosslessSV1, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    world.patch.setattr(dicom_pixels, "get_decoder", lambda _syntax: _Bare())
    told = world.refuse(3, "check", "--roi-csv", world.table(f"{path},7,40,40,50,50"))
    assert "pip install python-gdcm" in told
    return told


@case(14, "corrupt codestream")
def _(world: World) -> str:
    stream = encapsulate([b"\xff\xd8" + b"\x37" * 500 + b"\xff\xd9"])
    return world.reject("decode-failed", world.write_slice(syntax=uid.JPEGLosslessSV1, PixelData=stream))


@case(15, "Rows x Columns 65535 x 65535")
def _(world: World) -> str:
    return world.reject("too-large", world.write_slice(Rows=65535, Columns=65535))


@case(16, "deflate bomb")
def _(world: World) -> str:
    head = world.write_slice(syntax=uid.DeflatedExplicitVRLittleEndian).read_bytes()
    start = 144 + int.from_bytes(head[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    return world.reject("too-large", world.write_bytes(head[:start] + bomb))


@case(17, "box outside the slice; partly outside; floats; negative; swapped")
def _(world: World) -> str:
    slice_ = world.sound_slice()
    outside = (f"{slice_},7,900,900,910,910", f"{slice_},7,-40,-40,-20,-20")
    partly = (f"{slice_},7,-6,-6,5.5,6.25",)
    done, found = world.embed_beside(*outside, *partly)
    assert found[schema.CSV_ROW].to_list() == [1, 2], done.err
    assert "row 1" in world.refuse_table(f"{slice_},7,20,10,10,20")
    return f"row rejected: `outside`, {found[0, schema.REJECT_REASON]}"


@case(18, "diameter NaN, empty, <= 0, infinite, > 100 mm")
def _(world: World) -> str:
    sizes = ("nan", "", "0", "-3", "inf", "101")
    world.embed_beside(*(f"{world.sound_slice()},{size},40,40,50,{60 + at}" for at, size in enumerate(sizes)))
    done = world.call("fuse", "--emb-dir", world.folder / "index", "--query", "> 3 mm", "--topk", 99)
    told = [line for line in done.err.splitlines() if "no diameter" in line]
    assert done.code == 0
    hits = pl.read_csv(io.StringIO(done.out))
    assert hits.filter(pl.col(schema.DIAMETER_MM).is_null() & pl.col(schema.RULE).is_null()).height == len(sizes)
    assert hits.filter(pl.col(schema.DIAMETER_MM).is_null())[schema.SATISFIES].null_count() == len(sizes)
    return f"found by the image, without a rule score: {told[0]}"


@case(19, '"6 mm", "6,5" in a number column; another unit')
def _(world: World) -> str:
    slice_ = world.sound_slice()
    cm = world.call("check", "--roi-csv", world.table(f"{slice_},0.7,40,40,50,50"))
    assert "the median of diameter_mm is 0.7; is it in millimetres?" in cm.err
    assert "'6,5' is not a number" in world.refuse_table(f'{slice_},"6,5",40,40,50,50')
    return world.refuse_table(f"{slice_},6 mm,40,40,50,50")


@case(20, "exact duplicate rows")
def _(world: World) -> str:
    row = f"{world.sound_slice()},7,40,40,50,50"
    done = world.call("check", "--roi-csv", world.table(row, row, row), "--format", "json")
    assert json.loads(done.out)["parts"][0]["rows"] == 1
    return done.err.splitlines()[0]


@case(21, "train and val share patients")
def _(world: World) -> str:
    arguments = train_arguments(world.collection, world.folder / "run")
    arguments[arguments.index(world.collection.val)] = world.collection.train
    return world.refuse(3, *arguments)


@case(22, "patient list empty; CRLF, BOM and comments; ids that are not in the table")
def _(world: World) -> str:
    names = world.collection.val.read_text().split()
    told = "\ufeff# of the clinic\r\n" + "".join(f" {name.lower()} \r\n" for name in names) + "\r\nNOBODY\r\n"
    path = world.write_bytes(told.encode(), "list.txt")
    done = world.call("check", "--roi-csv", world.collection.roi_csv, "--patients-file", path, "--format", "json")
    assert json.loads(done.out)["parts"][1]["patients"] == len(names)
    assert "list.txt: 1 patient(s) are not in" in done.err
    empty = world.write_bytes(b"# nobody\n", "empty.txt")
    return world.refuse(3, "check", "--roi-csv", world.collection.roi_csv, "--patients-file", empty)


@case(23, "CSV in latin-1")
def _(world: World) -> str:
    return world.refuse_table("Größe.dcm,7,40,40,50,50", encoding="latin-1")


@case(24, "CSV in UTF-16")
def _(world: World) -> str:
    return world.refuse_table("a.dcm,7,40,40,50,50", encoding="utf-16")


@case(25, "`;` separated, ragged, empty, header only, a column name twice")
def _(world: World) -> str:
    assert "row 1 has 3 cells" in world.refuse_table("a.dcm,7,40")
    assert "has a header but no rows" in world.refuse_table()
    assert "the file is empty" in world.refuse_table(header="")
    assert "column 'diameter_mm' stands twice" in world.refuse_table(header=f"{HEADER},diameter_mm")
    return world.refuse_table("a.dcm;7,0;40;40;50;50", header=HEADER.replace(",", ";"))


@case(26, "`a\\b\\c.dcm`, drive letters, UNC")
def _(world: World) -> str:
    root, path = world.collection.roi_csv.parent, pl.read_csv(world.collection.roi_csv)[0, schema.DICOM_PATH]
    table = world.table(path.replace("/", "\\") + ",7,40,40,50,50")
    assert world.embed(table, "--dicom-root", root).code == 0
    assert pl.read_parquet(world.folder / "index" / schema.META)[0, schema.DICOM_PATH] == path
    _, found = world.embed_beside("C:\\scans\\a.dcm,7,40,40,50,50", "\\\\server\\scans\\a.dcm,7,40,40,50,50")
    assert set(found[schema.REJECT_CODE]) == {"missing-file"}
    return f"read with both separators, stored as `{path}`"


@case(27, "`../../x`, absolute paths, PatientID `../../etc/x`")
def _(world: World) -> str:
    row = f"{world.write_slice(PatientID='../../etc/x')},7,40,40,50,50"
    before = set(world.folder.parent.rglob("*"))
    assert world.embed(world.table(row)).code == 0
    made = {path for path in set(world.folder.parent.rglob("*")) - before if not path.is_relative_to(world.folder)}
    assert made == set()
    return world.refuse(3, "check", "--roi-csv", world.table("../../../etc/passwd,7,40,40,50,50"), "--restrict-to-root")


@case(29, "`=HYPERLINK(…)`, `<script>` in text columns")
def _(world: World) -> str:
    header = f"{HEADER},{schema.PATIENT_ID},{schema.READER}"
    rows = [f'{world.sound_slice()},{at + 3},4{at},40,50,50,P{at},"=HYPERLINK(""x"")<script>"' for at in range(4)]
    assert world.embed(world.table(*rows, header=header)).code == 0
    out = world.folder / "hits"
    done = world.call("query", "--emb-dir", world.folder / "index", "--query", "> 3 mm", "--out", out)
    assert done.code == 0, done.err
    cell = str(pl.read_csv(out / schema.TOP_K_CSV)[0, schema.READER])
    assert cell.startswith("'=HYPERLINK")
    return f"the cell is written with a quote before it: `{cell}`"


@case(30, "checkpoint that holds code")
def _(world: World) -> str:
    class _Code:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(world.folder / "ran"),)

    torch.save({"model": _Code()}, world.folder / "bad.pth", pickle_module=pickle)
    told = world.refuse(4, "embed", "--roi-csv", world.collection.roi_csv, "--model", world.folder / "bad.pth",
                        "--out-dir", world.folder / "i", "--cache-dir", world.folder / "c")  # fmt: skip
    assert not (world.folder / "ran").exists()
    return told


@case(31, "wrong architecture, missing or NaN weights, other crop settings")
def _(world: World) -> str:
    def refuse(values: dict[str, object]) -> str:
        torch.save(values, world.folder / "bad.pth")
        return world.refuse(4, "embed", "--roi-csv", world.collection.roi_csv, "--model", world.folder / "bad.pth",
                            "--out-dir", world.folder / "i", "--cache-dir", world.folder / "c")  # fmt: skip

    values = read_checkpoint(world.checkpoint)
    weights = dict(values["image_encoder"])
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    assert "resnet" in refuse({**values, "config": {**values["config"], "backbone": "resnet18"}})
    assert name in refuse({**values, "image_encoder": {key: weights[key] for key in weights if key != name}})
    assert "img-size" in world.refuse(
        2, "embed", "--roi-csv", world.collection.roi_csv, "--model", world.checkpoint, "--out-dir",
        world.folder / "i", "--img-size", 64, "--cache-dir", world.cache,
    )  # fmt: skip
    return refuse({**values, "image_encoder": {**weights, name: torch.full_like(weights[name], float("nan"))}})


def query_broken(world: World, name: str, content: bytes) -> str:
    """Put another file into an index, bind it by the manifest, and give what a query says of it."""
    index = world.folder / "broken"
    index.mkdir(exist_ok=True)
    for path in world.index.iterdir():
        if path.is_file():
            (index / path.name).write_bytes(path.read_bytes())
    (index / name).write_bytes(content)
    manifest = json.loads((index / schema.INDEX_MANIFEST).read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (index / schema.INDEX_MANIFEST).write_text(json.dumps(manifest))
    return world.refuse(4, "query", "--emb-dir", index, "--query", "> 6 mm")


def saved(array: object) -> bytes:
    """An array as .npy."""
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


@case(32, "object-dtype .npy, wrong shape, rows that are not the table's, NaN rows")
def _(world: World) -> str:
    rows = np.load(world.index / schema.EMBEDDINGS)
    assert "not a readable array" in query_broken(world, schema.EMBEDDINGS, saved(np.array([{}] * len(rows))))
    assert "expected float32" in query_broken(world, schema.EMBEDDINGS, saved(rows[:, :-1]))
    assert "expected float32" in query_broken(world, schema.EMBEDDINGS, saved(rows[:-1]))
    rows[3] = np.nan
    return query_broken(world, schema.EMBEDDINGS, saved(rows))


@case(33, "embeddings of another model")
def _(world: World) -> str:
    return world.refuse(4, "query", "--emb-dir", world.index, "--query", "> 6 mm", "--model", "lidc")


@case(37, "a device that is not there; the device's memory used up")
def _(world: World) -> str:
    arguments = train_arguments(world.collection, world.folder / "run", "--device", "cuda:99", "--dry-run")
    done = world.call(*arguments)
    assert done.code == 0, done.err
    return next(line for line in done.err.splitlines() if line.startswith("device: ")).split(" torch")[0] + " torch: …)"


@case(40, "K > N, K <= 0, empty query, contradictions, unicode, reversed ranges")
def _(world: World) -> str:
    query = ("query", "--emb-dir", world.index, "--query")
    many = world.call(*query, "0.6–1 cm", "--topk", 10_000)
    assert many.code == 0
    assert "there are" in many.err
    assert "read as: diameter larger than 6 and at most 10 mm, (6, 10] mm" in many.err
    assert "read as: diameter at least 6 mm, [6, inf) mm" in world.call(*query, "≥ 6 mm").err
    assert world.call(*query, "6-10 cm").code == 0
    assert world.call(*query, "10 to 6 mm").code in (0, 2)
    assert "--topk" in world.refuse(2, *query, "> 6 mm", "--topk", 0)
    assert "empty" in world.refuse(2, *query, "")
    return world.refuse(2, *query, "> 10 and < 5 mm")


@case(42, 'bits aligned left, RescaleType "Houndsfield Unit", PatientID with a backslash')
def _(world: World) -> str:
    sound = read_ct_slice(world.sound_slice())
    aligned = world.write_slice(PixelData=(sound.stored.astype("<u2") << 4).tobytes(), HighBit=15)
    assert (read_ct_slice(aligned).hu == sound.hu).all()
    assert (read_ct_slice(world.write_slice(RescaleType="Houndsfield Unit")).hu == sound.hu).all()
    assert read_ct_slice(world.write_slice(PatientID="AB\\12")).patient_id == "AB\\12"
    return "used: the Hounsfield units are those of the same slice in the standard's form, the id is one text"


@case(43, "FloatPixelData, no TransferSyntaxUID, HighBit that contradicts the pixels, an element that is missing")
def _(world: World) -> str:
    sound = pydicom.dcmread(world.sound_slice())
    floats = world.write_slice("float.dcm", PixelData=None, FloatPixelData=bytes(4 * sound.Rows * sound.Columns))
    no_syntax = world.write_slice("syntax.dcm")
    content = no_syntax.read_bytes()
    no_syntax.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", bytes(20)))
    high_bit = world.write_slice("bits.dcm", HighBit=15)
    return world.reject("bad-header", floats, no_syntax, high_bit, world.write_slice("rows.dcm", Rows=None))


PROVED_ELSEWHERE |= {
    28: (
        "names, birth dates in headers",
        "only listed columns are written",
        "tests/cli/test_privacy.py::test_no_output_names_a_person",
    ),
    34: (
        "killed at any byte of a write",
        "the old artefact, or none, or the new one whole",
        "tests/cli/test_crash.py::test_a_killed_command_leaves_what_is_whole",
    ),
    35: (
        "disk full, read-only, quota",
        "exit 3 and one line with the file, the bytes needed and those free; the old artefact stays",
        "tests/cli/test_full_disk.py::test_a_full_disk_costs_nothing_but_the_run",
    ),
    36: (
        "training killed",
        "`--resume` gives the weights of a run left alone, bit for bit",
        "tests/engine/test_training_loop.py::test_sigkill_and_resume_through_the_command",
    ),
    38: (
        "two processes, one output folder",
        "exit 2 for the second one, with a message",
        "tests/cli/test_full_disk.py::test_a_folder_in_use_is_left_alone",
    ),
    39: (
        "loss NaN or infinite",
        "exit 3: the loss is nan at epoch 2, step 1; try a smaller --lr; the best checkpoint stays",
        "tests/engine/test_training_loop.py::test_a_loss_that_is_not_finite_stops_and_keeps_the_best",
    ),
    41: (
        "`| head`, Ctrl-C",
        "quiet; exit 130 with one line of what is kept",
        "tests/cli/test_interrupts.py::test_a_reader_that_leaves_hears_nothing",
    ),
}
