"""Names of the files of an export."""

from pathlib import Path

import pytest

from noduleclip.exporters.file_names import number_files


@pytest.mark.parametrize("count", [2, 9, 10, 11, 100, 101])
def test_the_names_of_several_files_sort_by_their_number(count: int) -> None:
    names = [path.name for path in number_files(Path("new/hits.mrk.json"), ".mrk.json", count)]
    assert names == sorted(set(names))
    assert [int(name.removeprefix("hits-").removesuffix(".mrk.json")) for name in names] == list(range(1, count + 1))


def test_one_file_has_its_own_name() -> None:
    assert number_files(Path("hits.dcm"), ".dcm", 1) == [Path("hits.dcm")]
