"""Stepping through the slices of a nodule's series: which slices, their outlines, and what may be read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from conftest import Collection
from noduleclip import schema
from noduleclip.io.dicom.slice import read_ct_slice
from web.conftest import ESTIMATES, draw_circle, open_client, write_nodules


@pytest.fixture
def series(collection: Collection, tmp_path: Path) -> list[Path]:
    """A phantom's slices from the feet to the head, in a folder of their own."""
    folder = tmp_path / "series"
    shutil.copytree(next(iter(sorted((collection.roi_csv.parent / "dicom").iterdir()))), folder)
    return sorted(folder.iterdir())


@pytest.fixture
def client(index: Path, series: list[Path], tmp_path: Path) -> TestClient:
    (tmp_path / "index").mkdir()
    return open_client(write_nodules(index, tmp_path / "index", series[2:5]))


def test_a_stack_has_all_slices_of_the_series_and_the_readers_outlines(client: TestClient, series: list[Path]) -> None:
    stack = client.get("/api/stack/0").json()
    assert stack["at"] == 3
    assert [len(one["outlines"]) for one in stack["slices"]] == [0, 0, 2, 2, 2, *[0] * (len(series) - 5)]
    assert stack["slices"][3]["outlines"][0] == draw_circle(6)
    (mean,) = stack["slices"][3]["mean"]
    assert np.hypot(*(np.array(mean) - [40, 50]).T) == pytest.approx(8, abs=0.2)
    heights = [one[schema.Z_MM] for one in stack["slices"]]
    assert heights == sorted(heights)
    for at in (None, 0, len(series) - 1):
        answer = client.get("/api/slice/0", params={} if at is None else {"at": at})
        ct = read_ct_slice(series[3 if at is None else at])
        assert np.array_equal(np.frombuffer(answer.content, "<i2").reshape(ct.hu.shape), ct.hu)


def test_a_nodule_comes_with_what_readers_and_model_say(client: TestClient) -> None:
    found = client.get("/api/nodule/0").json()
    assert (found["counts"], found["reader_sizes"]) == ("2 readers, 3 slices", "8.0, 10.0 mm")
    assert found["model"].startswith("9.4 mm (8.1-10.8), solid 0.93")
    assert found["metadata"][schema.DESCRIPTION] == ESTIMATES[schema.DESCRIPTION]
    assert {one["name"]: (one["readers"], one["model"]) for one in found["comparison"]}.items() >= {
        "diameter, mm": (["8.0", "10.0"], "9.4 (8.1-10.8)"), "texture": (["5", "4"], "5"),
    }.items()  # fmt: skip
    assert found["estimates"]["probability_solid"] == pytest.approx(0.93)
    assert len(found["slice"]["outlines"]) == 2
    assert len(found["slice"]["mean"]) == 1


def test_an_index_of_nodules_is_not_grouped_by_nodule(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "> 3 mm", "unique": "nodule"}).json()
    assert answer["ranked"] == 1
    assert not any("unique" in note for note in answer["notes"])
    page = client.get("/").text
    assert "1 nodule</span>" in page
    assert '<option value="">row' not in page


def test_an_estimate_stands_in_for_a_diameter(index: Path, series: list[Path], tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    client = open_client(write_nodules(index, tmp_path / "index", series[2:5], **{schema.DIAMETER_MM: None}))
    answer = client.get("/api/search", params={"q": "> 6 mm"}).json()
    (hit,) = answer["hits"]
    assert (hit[schema.DIAMETER_MM], hit["size"], hit["counts"]) == (None, "~9.4", "2 readers, 3 slices")
    assert (answer["inside"], answer["inside_estimated"]) == (0, 1)
    found = client.get("/api/collection").json()
    assert (found["bins"][9], found["measured"], found["estimated"]) == (1, 0, 1)
    page = client.get("/hits.html", params={"q": "> 6 mm"}).text
    assert "~9.4 mm" in page
    assert page.count('type="radio"') == 3


def test_without_its_files_a_nodule_has_its_outlined_slices(index: Path, series: list[Path], tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    client = open_client(write_nodules(index, tmp_path / "index", series[2:5]))
    shutil.rmtree(series[0].parent)
    stack = client.get("/api/stack/0").json()
    assert (stack["at"], [one[schema.Z_MM] for one in stack["slices"]]) == (1, [0, 1, 2])
    answer = client.get("/api/slice/0", params={"at": 2})
    assert (answer.status_code, "no such file" in answer.json()["error"]) == (404, True)


@pytest.mark.parametrize("at", ["-1", "1.0", "99", "9" * 50, "../0", "x"])
def test_no_other_slice_can_be_asked_for(client: TestClient, at: str) -> None:
    assert client.get("/api/slice/0", params={"at": at}).status_code == 422


def test_outlines_name_no_file_of_another_folder(
    index: Path, series: list[Path], collection: Collection, tmp_path: Path
) -> None:
    """The paths of the rows are those that the record of the user's own indexes is of; outlines could name others."""
    other = next(path for path in collection.roi_csv.parent.rglob("*.dcm"))
    (tmp_path / "index").mkdir()
    inside = f"{series[0].parent}/../series/{series[2].name}"
    client = open_client(write_nodules(index, tmp_path / "index", [inside, series[3], other]))
    stack = client.get("/api/stack/0").json()["slices"]
    assert [len(one["outlines"]) for one in stack] == [0, 0, 0, 2, *[0] * (len(series) - 4)]


def test_links_out_of_the_folders_of_a_foreign_index_are_not_followed(
    index: Path, series: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index").mkdir()
    out = write_nodules(index, tmp_path / "index", series[2:5])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # of another user, who did not make it
    assert len(open_client(out).get("/api/stack/0").json()["slices"]) == 3, "no header is read"
    assert open_client(out).get("/api/slice/0", params={"at": 0}).status_code == 404
    secret = series[0].rename(tmp_path / "secret.dcm")
    series[0].symlink_to(secret)
    client = open_client(out, roots=(series[0].parent,))
    assert len(client.get("/api/stack/0").json()["slices"]) == len(series) - 1
