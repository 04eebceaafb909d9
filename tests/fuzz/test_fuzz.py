"""Readers hold their contract on any bytes: a short hunt; `nox -s fuzz` is the long one."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import targets
from fuzz.make_corpus import BY_LIBRARIES, CORPUS, REGRESSION, make_corpus
from fuzz.mutate import MAX_BYTES, Mutator
from fuzz.session import hunt
from fuzz.targets import TARGETS, BrokenContractError, Target, check
from noduleclip import schema
from noduleclip.errors import ArtefactError, InputError

pytestmark = pytest.mark.slow

UNSOUND = {"points", "no-weights", "legacy", "claims", "sound-3", "sound-5"}
COLUMNS = (
    *(schema.DICOM_PATH, schema.DIAMETER_MM, *schema.BOX_COLUMNS),
    *(schema.SPACING_ROW, schema.SPACING_COL, schema.POINTS_JSON, schema.NODULE_ID),
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def inputs() -> list[tuple[str, Path]]:
    return [(path.parent.name, path) for path in sorted(CORPUS.glob("*/*"))]


def is_unsound(path: Path) -> bool:
    return REGRESSION in path.name or any(mark in path.name for mark in UNSOUND)


def test_the_corpus_is_what_its_script_makes() -> None:
    made = {(target, name): content for target, name, content in make_corpus()}
    kept = {(target, path.name): path.read_bytes() for target, path in inputs() if REGRESSION not in path.name}
    assert set(kept) == set(made)
    assert {target for target, _ in kept} == set(TARGETS)
    for key, content in made.items():
        assert key[0] in BY_LIBRARIES or kept[key] == content, key
    assert sum(map(len, kept.values())) < 500_000


IN_PROCESS = [(target, path) for target, path in inputs() if target != "dicom"]


@pytest.mark.parametrize(("target", "path"), IN_PROCESS, ids=lambda value: getattr(value, "name", value))
def test_the_corpus_holds_the_contract(target: str, path: Path, folder: Path) -> None:
    accepted = check(TARGETS[target], path.read_bytes(), folder)
    assert accepted or is_unsound(path)


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "dicom"])
def test_a_short_hunt_finds_nothing(name: str, folder: Path) -> None:
    target = TARGETS[name]
    corpus = [path.read_bytes() for other, path in inputs() if other == name]
    mutator = Mutator(0, corpus, target.words, target.restructure)
    for _ in range(8 if name.startswith("config") else 60):
        check(target, mutator.draw(), folder)


def test_a_short_hunt_in_a_process_of_its_own_finds_nothing(tmp_path: Path) -> None:
    record = hunt("dicom", tmp_path, seconds=30, executions=500, engine="plain")
    assert record.executions >= 500
    assert not record.kinds, record
    sound = [path for name, path in inputs() if name == "dicom" and not is_unsound(path)]
    assert len(sound) < record.accepted < record.executions
    assert record.grown_mb < targets.MOST_MB


CELLS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "6.4", "1e400", "-1", "nan", " 7 ", "6,5", "a\\b.dcm", "../x", "/dev/zero", "\0", "\x1b[2J"]),
    st.floats().map(str),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)
POINTS = st.lists(st.tuples(st.floats(), st.floats()), min_size=3, max_size=6) | st.lists(
    st.tuples(st.floats(-1e5, 1e5), st.integers(-20, 20)), min_size=3, max_size=6
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """ROI tables whose boxes are sound, so that the outlines are looked at, with cells of any kind else."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        points = json.dumps(draw(st.one_of(POINTS, JSON)))
        path = draw(st.sampled_from(["a/1.dcm", "b.dcm"]) | CELLS)
        diameter = draw(st.sampled_from(["6", "7.5", ""]) | CELLS)
        spacing = draw(st.sampled_from(["0.7", "0.01", "10", ""]))
        rows.append([path, diameter, "1", "2", "5.5", "9", spacing, "0.8", points, draw(CELLS)])
    file = io.StringIO()
    csv.writer(file).writerows([COLUMNS, *rows])
    return file.getvalue().encode("utf-8", "surrogatepass")


@settings(max_examples=60, deadline=None)
@given(tables())
def test_any_cells_of_a_roi_table_hold_the_contract(folder: Path, content: bytes) -> None:
    check(TARGETS["roi_csv"], content, folder)


SPOKEN = st.sampled_from([word.decode() for word in TARGETS["sentence"].words])


@settings(max_examples=150, deadline=None)
@given(st.lists(SPOKEN | st.text(max_size=6), max_size=12))
def test_any_sentence_holds_the_contract(folder: Path, words: list[str]) -> None:
    check(TARGETS["sentence"], " ".join(words).encode("utf-8", "surrogatepass"), folder)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["patients", "scores", "readers"]), st.binary(max_size=80) | st.text().map(str.encode))
def test_any_bytes_of_a_list_hold_the_contract(folder: Path, name: str, content: bytes) -> None:
    check(TARGETS[name], content, folder)


def make_target(read: Callable[[bytes, Path], None]) -> Target:
    return Target(read, (InputError,), (b"x",))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("x"), "ValueError-in-outside"),
        (ArtefactError("x"), "ArtefactError-in-outside"),
        (MemoryError(), "MemoryError-in-outside"),
        (UserWarning("x"), "UserWarning-in-outside"),
    ],
)
def test_what_breaks_the_contract_is_told(error: Exception, kind: str, tmp_path: Path) -> None:
    def read(content: bytes, folder: Path) -> None:
        raise error

    with pytest.raises(BrokenContractError, match=kind):
        check(make_target(read), b"", tmp_path)


def test_a_reader_that_is_slow_breaks_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST_SECONDS", 0.05)

    def read(content: bytes, folder: Path) -> None:
        while True:
            pass

    with pytest.raises(BrokenContractError, match="TooSlow"):
        check(make_target(read), b"", tmp_path)


def test_a_reader_that_takes_memory_breaks_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MOST_MB", -1.0)
    with pytest.raises(BrokenContractError, match="memory"):
        check(make_target(lambda content, folder: None), b"", tmp_path)


def test_the_mutator_repeats_itself_and_keeps_to_its_size() -> None:
    corpus = [path.read_bytes() for _, path in inputs()]
    one, other = (Mutator(7, corpus, [b"word"]) for _ in range(2))
    drawn = [one.draw() for _ in range(200)]
    assert drawn == [other.draw() for _ in range(200)]
    assert len(set(drawn)) > 150
    assert max(map(len, drawn)) <= 4 * MAX_BYTES
