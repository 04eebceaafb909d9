"""`prepare` called from Python: no page, no output, a typed result."""

from pathlib import Path

import polars as pl
import pytest

from importers.lidc_phantoms import PATIENTS, write_patients
from noduleclip import schema
from noduleclip.importers.summary import OUTLINE_ROWS
from noduleclip.workflows.prepare import prepare
from noduleclip.workflows.prepare_sources import LidcRequest
from noduleclip.workflows.reporter import NoteCollector


def test_prepare_returns_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_patients(tmp_path / "LIDC-IDRI")
    notes = NoteCollector()
    result = prepare(LidcRequest(data_root=root, out=tmp_path / "out", workers="1", relative_paths=True), notes)
    assert capsys.readouterr() == ("", "")
    assert notes.notes == []
    assert pl.read_csv(result.roi_csv).height == result.rois.height == result.summary["counts"][OUTLINE_ROWS]
    assert result.rois[schema.PATIENT_ID].n_unique() == len(PATIENTS)
    assert result.dicom_root == root
    assert sum(map(len, result.splits.values())) == len(PATIENTS)
    assert not (tmp_path / "out" / schema.PREPARE_PAGE).exists()
