"""No output of any command holds what headers say of a person: planted names, dates and numbers are looked for."""

import zipfile
from pathlib import Path

import polars as pl
import pydicom
import pytest

from conftest import Collection, Command, Outcome, train_arguments
from noduleclip import schema

PLANTED = {
    "PatientName": "Plantedname^Quentin",
    "OtherPatientNames": "Formerplanted^Quentin",
    "PatientBirthDate": "19071231",
    "PatientAddress": "12 Plantedstreet",
    "PatientTelephoneNumbers": "555-0123-4567",
    "AccessionNumber": "ACC7654321",
    "StudyID": "STUDY7654321",
    "InstitutionName": "Plantedhospital",
    "ReferringPhysicianName": "Plantedphysician^Ada",
    "OperatorsName": "Plantedoperator^Bo",
    "StudyDescription": "Plantedstudy",
    "PatientComments": "Plantedcomment",
    "DeviceSerialNumber": "SER7654321",
}
SECRETS = [text.encode() for value in PLANTED.values() for text in value.split("^") if len(text) > 4]


@pytest.fixture(scope="module")
def planted(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """The phantoms as a hospital would have them, three of their slices broken in ways that make a message."""
    folder = tmp_path_factory.mktemp("planted")
    for number, name in enumerate(pl.read_csv(collection.roi_csv)[schema.DICOM_PATH].unique(maintain_order=True)):
        dataset = pydicom.dcmread(collection.roi_csv.parent / name)
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        dataset.add_new(0x00091001, "LO", PLANTED["PatientName"])
        if number == 3:
            dataset.RescaleSlope = 0
        if number == 9:
            dataset.Modality = "MR"
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(copy)
        if number == 6:
            copy.write_bytes(copy.read_bytes()[:-4000])
    (folder / "rois.csv").write_bytes(collection.roi_csv.read_bytes())
    return Collection(folder, folder / "rois.csv", collection.train, collection.val, collection.test)


def contents(path: Path) -> bytes:
    """Everything that a file holds, decompressed."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path).write_ndjson().encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return b"".join(archive.read(name) for name in archive.namelist())
    return path.read_bytes()


def test_what_is_planted_is_found_by_this_test(planted: Collection, tmp_path: Path) -> None:
    slices = sorted(planted.folder.rglob("*.dcm"))
    assert all(secret in contents(slices[0]) for secret in SECRETS)
    pl.DataFrame({"a": [PLANTED["PatientName"]] * 1000}).write_parquet(tmp_path / "a.parquet")
    assert SECRETS[0] not in (tmp_path / "a.parquet").read_bytes()[:8]
    assert SECRETS[0] in contents(tmp_path / "a.parquet")


def test_no_output_names_a_person(planted: Collection, noduleclip: Command, figures: None, tmp_path: Path) -> None:
    out, cache, index = tmp_path / "out", tmp_path / "out" / "cache", tmp_path / "out" / "index"
    table = ("--roi-csv", planted.roi_csv)
    lenient = ("--max-rejects", 0.5, "--cache-dir", cache)
    search = ("--emb-dir", index, "--query", "> 6 mm")
    checkpoint = out / "run" / schema.BEST_CHECKPOINT
    commands: list[tuple[object, ...]] = [
        ("check", *table, *lenient, "--out", out / "check", "--format", "json"),
        ("check", *table, *lenient, "--format", "table"),
        ("split", *table, "--out", out / "splits", "--val", 0.15, "--test", 0.15),
        (*train_arguments(planted, out / "run"), *lenient, "--dry-run"),
        (*train_arguments(planted, out / "run"), *lenient),
        ("embed", *table, "--model", checkpoint, "--out-dir", index, *lenient, "--dry-run"),
        ("embed", *table, "--model", checkpoint, "--out-dir", index, *lenient),
        ("query", *search, "--out", out / "query", "--format", "table"),
        ("query", *search, "--format", "json", "--topk", 200),
        ("query", *search, "--paths-only"),
        ("query", *search, "--format", "csv", "--export", out / "hits.dcm", "--export", out / "hits.mrk.json"),
        ("fuse", *search, "--out", out / "fuse", "--format", "csv"),
        ("evaluate", "--emb-dir", index, "--out", out / "report", "--resamples", 10, "--draws", 5, "--format", "json"),
        ("doctor", "--cache-dir", cache),
        ("embed", *table, "--model", checkpoint, "--out-dir", out / "strict", "--strict", "--cache-dir", cache),
    ]
    ends: list[Outcome] = [noduleclip(*command) for command in commands]
    assert [end.code for end in ends] == [0] * 14 + [3], [end.err for end in ends]
    rejected = pl.read_csv(index / schema.REJECTS_CSV)[schema.REJECT_CODE]
    assert set(rejected) >= {"bad-rescale", "not-ct", "truncated-pixels"}
    assert list(out.glob("*.dcm"))
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 40
    said = {
        f"what {command[0]} said": (end.out + end.err).encode() for command, end in zip(commands, ends, strict=True)
    }
    held = {str(path): str(path).encode() + contents(path) for path in written} | said
    assert [(where, secret) for where, text in held.items() for secret in SECRETS if secret in text] == []
