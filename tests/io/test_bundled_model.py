"""The model that comes with the package."""

from pathlib import Path

import pytest

from noduleclip.errors import ArtefactError
from noduleclip.io.bundled_model import BUNDLED, find_checkpoint

LARGEST_BYTES = 25_000_000


@pytest.mark.parametrize("name", BUNDLED)
def test_it_is_there_and_fits_a_wheel(name: str) -> None:
    assert 1_000_000 < find_checkpoint(Path(name)).stat().st_size < LARGEST_BYTES


def test_a_file_of_the_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(Path("lidc")).parent.name == "weights"
    Path("lidc").write_text("mine")
    assert find_checkpoint(Path("lidc")) == Path("lidc")


def test_what_is_neither_is_told() -> None:
    with pytest.raises(ArtefactError, match=r"nosuch: no such checkpoint; .* lidc comes with the package"):
        find_checkpoint(Path("nosuch"))
