"""The contract of every place where an index may lie: the same questions get the same answers, byte for byte."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytest.importorskip("lance")

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.errors import ArtefactError, LibraryError, OutputError, UsageError
from noduleclip.io.index import lance as lance_store
from noduleclip.io.index import lance_tables, lance_writer
from noduleclip.io.index.lance import LanceIndex
from noduleclip.io.index.lance_opening import holds_index
from noduleclip.io.index.lance_tables import parse_place, translate_lance_errors
from noduleclip.io.index.lance_writer import bind_fragments, make_schema, write_fragment
from noduleclip.io.index.open import open_index
from stores import copy_index, copy_to_store, read_outlines

pytestmark = pytest.mark.slow

SENTENCE = "a lung nodule with diameter > 6 mm"
KINDS = ("folder", "lance", "vector index", "object store")
NOTE = "note: found by the vector index"


@pytest.fixture(scope="module", autouse=True)
def _object_store() -> Iterator[None]:
    """Let the code for object stores read and write files: Lance has a store for tests that does."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lance_tables, "OBJECT_STORES", (*lance_tables.OBJECT_STORES, "file-object-store"))
        yield


@pytest.fixture(scope="module")
def places(index: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {kind: copy_index(index, kind, tmp_path_factory.mktemp("store") / "copy") for kind in KINDS}


QUESTIONS: dict[str, list[object]] = {
    "a sentence": ["query", "--query", SENTENCE],
    "all rows": ["query", "--query", SENTENCE, "--topk", 5000],
    "where": ["query", "--query", SENTENCE, "--where", "diameter_mm > 5 AND NOT patient_id = 'nobody'", "--topk", 5],
    "where in polars alone": ["query", "--query", SENTENCE, "--where", "patient_id LIKE '%-000%' AND row > 3"],
    "where with a quote": ["query", "--query", SENTENCE, "--where", "diameter_mm > 5 AND patient_id != 'none''s'"],
    "where few": ["query", "--query", SENTENCE, "--where", "row IN (3, 1, 4, 15)"],
    "unique nodule": ["query", "--query", SENTENCE, "--unique", "nodule"],
    "unique patient": ["query", "--query", SENTENCE, "--unique", "patient", "--topk", 100],
    "like": ["query", "--like", 3],
    "like and a sentence": ["query", "--like", 3, "--query", SENTENCE, "--unique", "slice"],
    "like where": ["query", "--like", 3, "--where", "diameter_mm > 4", "--topk", 4],
    "fuse": ["fuse", "--query", SENTENCE, "--alpha", 0.4, "--topk", 20],
    "fuse where unique": ["fuse", "--query", "3-6 mm", "--where", "diameter_mm < 9", "--unique", "nodule"],
    "cut-off": ["query", "--query", SENTENCE, "--min-probability", 0.3],
    "cut-off in groups": ["query", "--query", SENTENCE, "--min-probability", 0.3, "--unique", "patient"],
    "all": ["query", "--query", SENTENCE, "--topk", "all"],
    "fuse above a score": ["fuse", "--query", SENTENCE, "--min-score", 0.5, "--rule", "estimated"],
    "where estimated": ["query", "--query", SENTENCE, "--where", "estimated_diameter_mm >= 1.5 AND row < 50"],
    "describe": ["describe", "--where", "row < 40"],
    "evaluate": ["evaluate", "--resamples", 10, "--draws", 3],
}


def without_note(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(NOTE)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", QUESTIONS)
def test_every_place_gives_the_same_answer(
    noduleclip: Command, index: Path, places: dict[str, str], name: str, kind: str
) -> None:
    command, *options = QUESTIONS[name]
    wanted = noduleclip(command, "--emb-dir", index, *options)
    done = noduleclip(command, "--emb-dir", places[kind], *options)
    assert done.code == wanted.code == 0, done.err
    assert done.out == wanted.out
    assert without_note(done.err) == wanted.err.splitlines()
    used = kind == "vector index" and name in ("a sentence", "where", "like", "like where", "where estimated")
    assert (NOTE in done.err) == used


@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_sentences_and_patients(
    noduleclip: Command, index: Path, collection: Collection, places: dict[str, str], tmp_path: Path, kind: str
) -> None:
    (tmp_path / "queries.txt").write_text("> 6 mm\n3-5 mm\n<= 4 mm\nsmall\nlarge\n")
    (tmp_path / "patients.txt").write_text(collection.train.read_text() + "nobody\n")
    options = ("--queries-file", tmp_path / "queries.txt", "--patients-file", tmp_path / "patients.txt", "--topk", 4)
    wanted = noduleclip("query", "--emb-dir", index, *options)
    done = noduleclip("query", "--emb-dir", places[kind], *options)
    assert done.code == wanted.code == 0, done.err
    assert done.out == wanted.out
    assert "1 patient(s) are not among the rows to rank" in done.err
    assert NOTE not in done.err


@pytest.mark.parametrize("kind", KINDS)
def test_patients_without_a_row_that_meets_the_condition_are_counted(
    noduleclip: Command, index: Path, places: dict[str, str], tmp_path: Path, kind: str
) -> None:
    patients = open_index(index).read_columns([schema.PATIENT_ID])[schema.PATIENT_ID].unique().sort()
    (tmp_path / "patients.txt").write_text("\n".join(patients))
    left_out = f"{schema.PATIENT_ID} > '{patients[2]}' AND {schema.DIAMETER_MM} > 2"
    options = ("--patients-file", tmp_path / "patients.txt", "--where", left_out, "--topk", 4)
    done = noduleclip("query", "--emb-dir", places[kind], "--query", SENTENCE, *options)
    assert done.code == 0, done.err
    assert "patients.txt: 3 patient(s) are not among the rows to rank" in done.err
    assert NOTE not in done.err


@pytest.mark.parametrize("kind", KINDS)
def test_pages_have_their_pictures_from_every_place(
    noduleclip: Command, places: dict[str, str], tmp_path: Path, kind: str
) -> None:
    done = noduleclip("query", "--emb-dir", places[kind], "--query", SENTENCE, "--html", tmp_path / "hits.html")
    assert done.code == 0, done.err
    assert (tmp_path / "hits.html").read_text(encoding="utf-8").count("<polygon") >= 10


@pytest.mark.parametrize("kind", KINDS)
def test_what_finds_no_row_says_so(noduleclip: Command, places: dict[str, str], kind: str) -> None:
    ask = ("query", "--emb-dir", places[kind], "--query", SENTENCE, "--where")
    empty = noduleclip(*ask, "diameter_mm > 500")
    assert (empty.code, empty.out) == (3, "")
    assert f"no row of {places[kind]} passes --where" in empty.err
    for condition, message in (("lobe = 'left'", "no column 'lobe'"), ("patient_id > 4", "--where"), ("((", "--where")):
        wrong = noduleclip(*ask, condition)
        assert wrong.code == 2, condition
        assert message in wrong.err


@pytest.mark.parametrize("kind", KINDS)
def test_rows_vectors_and_outlines_are_the_same(
    index: Path, places: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = open_index(index), open_index(places[kind])
    rows = np.array([5, 2, 2, 30])
    assert other.read_rows(rows).equals(folder.read_rows(rows))
    assert other.read_rows([]).equals(folder.read_rows([]))
    assert other.read_outlines(rows) == folder.read_outlines(rows)
    assert other.collect(other.scan()).equals(folder.collect(folder.scan()))
    assert other.embeddings.shape == folder.embeddings.shape
    monkeypatch.setattr(lance_store, "_SCANNED_ROWS", 13)
    for wanted in (slice(3, 60), slice(0, 10**6), slice(5, 5), rows, np.array([0, 80]), np.array([], np.int64)):
        np.testing.assert_array_equal(other.embeddings[wanted], folder.embeddings[wanted])


def change_binding(**changes: Any) -> Callable[[Path], None]:
    """Change the one row that binds a store together."""

    def change(store: Path) -> None:
        import lance
        import pyarrow as pa

        table = lance.dataset(str(store / "index.lance")).to_table()
        row = table.to_pylist()[0]
        for key, value in changes.items():
            row[key] = value(row[key]) if callable(value) else value
        lance.write_dataset(pa.Table.from_pylist([row], table.schema), str(store / "index.lance"), mode="overwrite")

    return change


def change_manifest(**changes: Any) -> Callable[[Path], None]:
    return change_binding(manifest=lambda text: json.dumps(json.loads(text) | changes))


def spoil(pattern: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        for file in store.glob(pattern):
            file.write_bytes(b"?" * file.stat().st_size)

    return change


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing": (lambda store: shutil.rmtree(store), "holds no index; noduleclip embed --store lance://"),
    "rows only": (lambda store: shutil.rmtree(store / "index.lance"), "holds no index"),
    "no rows": (lambda store: shutil.rmtree(store / "rows.lance"), "cannot be read .*; embed again"),
    "rows of noise": (spoil("rows.lance/data/*"), r"data/.*: is not the file that index\.lance names; embed again"),
    "versions of noise": (spoil("rows.lance/_versions/*"), "cannot be read"),
    "binding of noise": (spoil("index.lance/_versions/*"), "cannot be read"),
    "no such version": (change_binding(rows_version=77), "cannot be read"),
    "another encoder": (change_binding(text_tower=b"encoder"), "is not the one that the manifest names"),
    "no manifest": (change_binding(manifest="{"), "holds no readable manifest"),
    "a list": (change_binding(manifest="[]"), "is not of this tool"),
    "more rows": (change_manifest(rows=4711), "rows, the manifest says 4711"),
    "another width": (change_manifest(emb=9), "its files, model or width are others"),
    "newer": (change_manifest(schema_version=9), "schema version 9, this noduleclip reads"),
    "other files": (change_manifest(files={}), "its files, model or width are others"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_store_is_refused_in_a_line(
    noduleclip: Command, places: dict[str, str], tmp_path: Path, name: str
) -> None:
    change, message = BROKEN[name]
    shutil.copytree(places["lance"].removeprefix("lance://"), tmp_path / "store")
    change(tmp_path / "store")
    done = noduleclip("query", "--emb-dir", f"lance://{tmp_path / 'store'}", "--query", SENTENCE)
    assert (done.code, done.out) == (4, ""), done
    assert len(done.err.splitlines()) <= 2, done.err
    assert done.err.splitlines()[-1].startswith("error: lance://")
    with pytest.raises(ArtefactError, match=message):
        open_index(f"lance://{tmp_path / 'store'}").read_rows([0])


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt("Ctrl-C")


def test_what_ends_a_writer_leaves_the_old_store(
    noduleclip: Command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"lance://{tmp_path / 'store'}"
    copy_to_store(index, store, indexed_rows=1)
    wanted = noduleclip("query", "--emb-dir", store, "--query", SENTENCE)
    for name in ("_check_rows", "_describe_row_files", "_write_binding"):
        with monkeypatch.context() as patched:
            patched.setattr(lance_writer, name, interrupt)
            with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
                copy_to_store(index, store, indexed_rows=1)
        assert noduleclip("query", "--emb-dir", store, "--query", SENTENCE) == wanted
    assert len(list((tmp_path / "store").glob("rows.lance/data/*"))) == 4
    copy_to_store(index, store, indexed_rows=1)
    assert noduleclip("query", "--emb-dir", store, "--query", SENTENCE) == wanted
    assert len(list((tmp_path / "store").glob("rows.lance/data/*"))) == 1, "what the ended ones left is gone"


@pytest.mark.parametrize(
    "raised",
    [KeyboardInterrupt("Ctrl-C"), OutputError("piece.npy: the disk is full"), ArtefactError("0.npy: is broken")],
)
def test_what_the_pieces_raise_comes_out_of_lance_as_it_is(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    """Lance pulls them in its own code and makes an error of the text."""
    folder = open_index(index)
    meta = folder.collect(folder.scan().drop(schema.ROW))

    def give() -> Iterator[Any]:
        yield folder.embeddings[:40]
        raise raised

    with pytest.raises(type(raised), match=f"^{raised}$"):
        write_fragment(parse_place(f"lance://{tmp_path / 'store'}"), 0, give(), meta, None)


@pytest.mark.parametrize(("writing", "failure"), [(False, ArtefactError), (True, OutputError)], ids=["read", "write"])
def test_ctrl_c_while_lance_works_is_no_failure_of_the_store(writing: bool, failure: type[Exception]) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^$"), translate_lance_errors("lance://x", writing=writing):
        raise ValueError("External error: KeyboardInterrupt: ")
    with (
        pytest.raises(failure, match=r"lance://x: cannot be .* \(External error: no such host\)"),
        translate_lance_errors("lance://x", writing=writing),
    ):
        raise ValueError("External error: no such host")


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a thread")
@pytest.mark.parametrize("after_s", [0.02, 0.03, 0.04, 0.05, 0.06])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where Lance drops the interrupt itself
def test_ctrl_c_while_lance_searches_is_heard(places: dict[str, str], after_s: float) -> None:
    opened = open_index(places["vector index"])
    press = threading.Timer(after_s, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    vector = opened.embeddings[np.array([4])][0]

    def search() -> None:
        while True:
            opened.find_near(vector, 5, None)

    press.start()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        search()


KILLED = """
import dataclasses, os, signal, sys
from pathlib import Path
import stores
from noduleclip.io.index.open import open_index
embeddings = open_index(Path(sys.argv[1])).embeddings
stores.AT_ONCE = 1
class Ends(type(embeddings)):
    def __getitem__(self, rows):
        if isinstance(rows, slice) and rows.start == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(rows)
found = open_index(Path(sys.argv[1]))
stores.open_index = lambda folder: dataclasses.replace(found, embeddings=embeddings.view(Ends))
stores.copy_to_store(Path(sys.argv[1]), sys.argv[2], indexed_rows=1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
@pytest.mark.parametrize("is_there", [False, True])
def test_a_killed_writer_leaves_the_old_store_or_none(index: Path, tmp_path: Path, is_there: bool) -> None:
    store = f"lance://{tmp_path / 'store'}"
    if is_there:
        copy_to_store(index, store, indexed_rows=1)
    code = [sys.executable, "-c", KILLED, str(index), store]
    assert subprocess.run(code, cwd=Path(__file__).parents[1], check=False).returncode == -9
    assert holds_index(parse_place(store)) == is_there
    if is_there:
        assert open_index(store).read_rows([0]).equals(open_index(index).read_rows([0]))
    else:
        with pytest.raises(ArtefactError, match="holds no index"):
            open_index(store)


def test_fragments_of_many_writers_make_one_store(
    noduleclip: Command, index: Path, places: dict[str, str], tmp_path: Path
) -> None:
    folder, store = open_index(index), f"lance://{tmp_path / 'store'}"
    meta, outlines = folder.collect(folder.scan().drop(schema.ROW)), read_outlines(folder)
    place, rows = parse_place(store), folder.manifest.rows
    parts = {}
    for start in (40, 0):  # whoever is first
        end = 40 if start == 0 else rows
        cut = None if outlines is None else outlines[start:end]
        parts[start] = write_fragment(place, start, [folder.embeddings[start:end]], meta[start:end], cut)
    assert not holds_index(place)
    fragments = [*parts[0], *parts[40]]
    kinds = make_schema(folder.manifest.emb, meta, outlines)
    encoder = index / schema.TEXT_TOWER
    bind_fragments(place, fragments, kinds, encoder, folder.manifest, indexed_rows=1 << 30)
    asked = ("--query", SENTENCE, "--topk", 50)
    assert noduleclip("query", "--emb-dir", store, *asked).out == noduleclip("query", "--emb-dir", index, *asked).out
    with pytest.raises(ValueError, match="the fragments are not in the order of their rows"):
        bind_fragments(place, fragments[::-1], kinds, encoder, folder.manifest, indexed_rows=1 << 30)
    with pytest.raises(ValueError, match=f"the fragments have 40 rows, not {rows}"):
        bind_fragments(place, parts[0], kinds, encoder, folder.manifest, indexed_rows=1 << 30)


def test_with_a_filter_far_rows_are_found_too(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance_writer, "_ROWS_OF_PARTITION", 4)
    store = f"lance://{tmp_path / 'store'}"
    copy_to_store(index, store, indexed_rows=1)
    opened = open_index(store)
    vectors = opened.embeddings[:]
    for vector in vectors[:: len(vectors) // 8]:
        far = np.argsort(vectors @ vector)[:20]
        condition = f"`{schema.ROW}` IN ({', '.join(map(str, far))})"
        assert set(far[:-6:-1]) <= set(opened.find_near(vector, 8, condition)), "of the far ones the nearest"


RESERVED = ("_rowid", "_rowaddr", "_distance", "_score", "_row_created_at_version", "_row_last_updated_at_version")


@pytest.mark.parametrize("name", ["lobe.side", "50 %2E", "vector", "größe", "`tick`", *RESERVED])
def test_columns_of_any_name_are_kept(noduleclip: Command, index: Path, tmp_path: Path, name: str) -> None:
    folder, store = open_index(index), f"lance://{tmp_path / 'store'}"
    meta = folder.collect(folder.scan().drop(schema.ROW)).with_row_index("number").rename({"number": name})
    place, kinds = parse_place(store), make_schema(folder.manifest.emb, meta, None)
    fragments = write_fragment(place, 0, [np.array(folder.embeddings)], meta, None)
    bind_fragments(place, fragments, kinds, index / schema.TEXT_TOWER, folder.manifest, indexed_rows=1)
    opened = open_index(store)
    assert opened.read_columns([name])[name].to_list() == list(range(meta.height))
    assert opened.read_rows([7])[name].to_list() == [7]
    assert len(opened.find_near(opened.embeddings[np.array([4])][0], 5, f"`{schema.DIAMETER_MM}` > 0")) == 5
    done = noduleclip("query", "--emb-dir", store, "--query", SENTENCE, "--where", f'"{name}" < 60', "--format", "json")
    assert done.code == 0, done.err
    assert all(json.loads(line)[name] < 60 for line in done.out.splitlines())


def test_embed_writes_a_store(
    noduleclip: Command, collection: Collection, checkpoint: Path, index: Path, exported: Path, tmp_path: Path
) -> None:
    store = f"lance://{tmp_path / 'store'}"
    outlines = ("--roi-csv", collection.roi_csv, "--unit", "outline")
    command = ("embed", *outlines, "--model", checkpoint, "--device", "cpu", "--store", store)
    done = noduleclip(*command, "--vector-index-from", 50)
    assert done.code == 0, done.err
    assert f"in {store}" in done.err
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["index.lance", "rows.lance"]
    folder, opened = open_index(index), open_index(store)
    assert isinstance(opened, LanceIndex)
    assert opened.has_vector_index
    np.testing.assert_array_equal(opened.embeddings[:], folder.embeddings)
    assert opened.manifest.model == folder.manifest.model
    assert opened.manifest.dicom_roots == folder.manifest.dicom_roots
    again = noduleclip(*command)
    assert again.code == 2
    assert "already holds index.lance; --overwrite replaces it" in again.err
    fewer = noduleclip(*command, "--overwrite", "--limit", 30, "--out-dir", tmp_path / "work")
    assert fewer.code == 0, fewer.err
    assert open_index(store).manifest.rows == 30
    assert not (tmp_path / "work" / ".pieces").exists() or not any((tmp_path / "work" / ".pieces").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give a folder for the index with --out-dir, or a Lance store with --store"),
        (["--out-dir", "lance://x"], "a Lance store is given with --store"),
        (["--out-dir", "lance://x", "--store", "lance://y"], "--out-dir lance:/x: is a folder on this machine"),
        (
            ["--out-dir", "x", "--store", "lance://x/shards/y"],
            "--store lance://x/shards/y: lies in x/shards, whose parts",
        ),
        (
            ["--out-dir", "x", "--store", "lance://./x/shards"],
            "lies in x/shards, whose parts are removed once they are joined; choose",
        ),
        (
            ["--out-dir", "x", "--store", "lance://x/.pieces/y"],
            "lies in x/.pieces, whose parts are removed once they are joined",
        ),
        (["--out-dir", "x", "--vector-index-from", "9"], "--vector-index-from 9 is of no use without --store"),
        (["--out-dir", "x", "--vector-index-from", "200000"], "--vector-index-from 200000 is of no use without"),
        (["--store", "s3://bucket/x"], "give a folder on this machine with --out-dir, too"),
        (
            ["--store", "ftp://x/y"],
            r"ftp://x/y: no place for a store; write lance://FOLDER, or s3://BUCKET/PREFIX, gs:",
        ),
        (["--store", "somewhere"], "no place for a store"),
        (["--store", "lance://"], "no place for a store"),
    ],
)
def test_places_that_contradict_are_refused(
    noduleclip: Command,
    collection: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    commands: list[list[object]] = [["embed", "--roi-csv", collection.roi_csv]]
    if "--out-dir" in options:
        commands.append(["merge"])
    for command in commands:
        done = noduleclip(*command, *options)
        assert done.code == 2
        assert message in done.err
        assert len(done.err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["lance://store", "lance://index"])
def test_a_store_is_not_embedded_over_the_rejects_of_an_index(
    noduleclip: Command, collection: Collection, checkpoint: Path, index: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, store: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(index, "index")
    rejects = Path("index") / schema.REJECTS_CSV
    listed = "csv_row,dicom_path,code,reason\n1,a.dcm,missing-file,no such file\n"
    rejects.write_text(listed)
    command = ("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--device", "cpu", "--limit", 20)
    options = ("--store", store, "--out-dir", "index")
    done = noduleclip(*command, *options)
    assert done.code == 2
    assert done.err == (
        f"error: index already holds {schema.INDEX_MANIFEST}; its {schema.REJECTS_CSV} would be lost: "
        "choose another --out-dir, or --overwrite\n"
    )
    assert rejects.read_text() == listed
    assert not Path("store").exists()
    merged = noduleclip("merge", *options)
    assert merged.code == 0, merged.err
    assert rejects.read_text() == listed
    wanted = noduleclip(*command, *options, "--overwrite")
    assert wanted.code == 0, wanted.err
    assert open_index(store).manifest.rows == 20
    assert not rejects.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="makes a link")
@pytest.mark.parametrize("spelling", ["{}/index", "link", "./x/../index"])
def test_a_store_goes_into_the_folder_of_its_index_however_that_is_spelt(
    noduleclip: Command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(index, "index")
    Path("link").symlink_to("index")
    store = f"lance://{spelling.format(tmp_path)}"
    done = noduleclip("merge", "--out-dir", "index", "--store", store)
    assert done.code == 0, done.err
    assert open_index(store).read_rows([3]).equals(open_index(index).read_rows([3]))
    assert open_index(Path("index")).manifest == open_index(index).manifest


def test_without_lance_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(UsageError, match=r'lance://x: needs lance: pip install "noduleclip\[lance\]"'):
        open_index("lance://x")


def test_a_place_that_cannot_be_written_says_so(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written \(.+\)"):
        copy_to_store(index, f"lance://{tmp_path / 'file' / 'store'}", indexed_rows=1)


class FakeLance:
    """Lance, as it answers for a store that it cannot open."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def dataset(self, *_arguments: object, **_options: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            NotImplementedError("flags 64"),
            LibraryError,
            r"the installed Lance cannot read it \(flags 64\); pip",
        ),
        (OSError("no route"), ArtefactError, r"\(no route\); check its address, the network"),
        (ValueError("bad magic"), ArtefactError, r"\(bad magic\); embed again"),
    ],
)
def test_a_store_is_broken_only_where_it_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], message: str
) -> None:
    for module in ("lance_opening", "lance_binding"):
        monkeypatch.setattr(f"noduleclip.io.index.{module}.load_lance", lambda text: FakeLance(error))
    with pytest.raises(kind, match=message):
        open_index("s3://b/i")
    with pytest.raises(kind, match=message):  # it would be taken for a free place, and written over
        holds_index(parse_place("s3://b/i"))


def test_an_interrupt_that_lance_makes_a_text_of_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ValueError("Invalid argument error: Metric type '<unprintable str object>' is not supported")
    monkeypatch.setattr("noduleclip.io.index.lance_binding.load_lance", lambda text: FakeLance(error))
    with pytest.raises(KeyboardInterrupt):
        open_index("s3://b/i")


def test_an_error_of_polars_is_not_taken_for_a_broken_store(places: dict[str, str]) -> None:
    opened = open_index(places["vector index"])
    plan = opened.scan().select(schema.DIAMETER_MM)

    class Fails:
        """A plan that polars cannot carry out."""

        def collect(self) -> pl.DataFrame:
            raise pl.exceptions.ComputeError("no such kind of join")

    with pytest.raises(LibraryError, match=r"rows\.lance: polars [\d.]+ fails on this table, which is sound \(no such"):
        opened.collect(Fails())  # type: ignore[arg-type]
    assert opened.collect(plan).height == opened.manifest.rows


def test_a_folder_does_without_lance(index: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom noduleclip.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    assert not end.code\nassert not {'lance', 'lancedb', 'torch'} & set(sys.modules)"
    )
    options = ["query", "--emb-dir", str(index), "--query", SENTENCE]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_lancedb_opens_the_rows(places: dict[str, str]) -> None:
    lancedb = pytest.importorskip("lancedb")
    folder = places["vector index"].removeprefix("lance://")
    table = lancedb.connect(folder).open_table("rows")
    opened = open_index(places["vector index"])
    vector = opened.embeddings[np.array([4])][0]
    assert table.count_rows() == opened.manifest.rows
    assert table.search(vector, vector_column_name="vector").limit(1).to_list()[0][schema.ROW] == 4
    assert pl.DataFrame(table.search().limit(3).to_arrow())[schema.DIAMETER_MM].len() == 3
