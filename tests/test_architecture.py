"""Who may import whom, what stays out of a query, and where column names may stand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import noduleclip
from noduleclip import schema
from noduleclip.io.index.folder import open_index

SOURCE = Path(noduleclip.__file__).parent
EVERYWHERE = {"errors", "machine", "schema", "config", "language", ""}
ALLOWED = {
    "errors": set(),
    "machine": set(),
    "schema": set(),
    "language": set(),
    "config": set(),
    "io": {"io"},
    "importers": {"importers", "io"},
    "phantom": {"phantom", "io"},
    "retrieval": {"retrieval"},
    "evaluation": {"evaluation", "retrieval"},
    "models": {"models", "io"},
    "engine": {"engine", "models", "io", "retrieval", "evaluation"},
    "report": {"report", "io", "importers", "retrieval", "evaluation"},
    "web": {"web", "io", "retrieval", "report"},
    "cli": {"cli", "report", "web", "engine", "io", "importers", "models", "retrieval", "evaluation", "phantom"},
    "__main__": {"cli"},
}
TORCH_ROOMS = {"models", "engine", "cli"}
LIGHT = {"errors", "machine", "schema", "config", "language"}


def imports_of(path: Path) -> set[str]:
    """All modules that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "noduleclip":
                found |= {f"noduleclip.{name.name}" for name in node.names}
            found.add(node.module)
    return found


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py") if first != "__init__.py" else ""


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_house(path: Path) -> None:
    room = room_of(path)
    if not room:
        assert not imports_of(path), "importing the package costs nothing"
        return
    rooms = {name.split(".")[1] for name in imports_of(path) if name.startswith("noduleclip.")}
    rooms -= {"__version__"}
    assert rooms <= ALLOWED[room] | EVERYWHERE | {room}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports_of(path)}
    if room_of(path) not in TORCH_ROOMS:
        assert not libraries & {"torch", "timm", "onnxscript"}
    if room_of(path) != "web":
        assert not libraries & {"starlette", "uvicorn", "anyio"}
    if room_of(path) in LIGHT:
        assert libraries <= set(sys.stdlib_module_names) | {"noduleclip", "numpy"}


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "schema.py"], ids=lambda path: path.name)
def test_column_names_stand_in_the_schema_only(path: Path) -> None:
    names = {*schema.TEXT_COLUMNS, *schema.NUMBER_COLUMNS, schema.ABSOLUTE_PATH, schema.CENTER_X, schema.CENTER_Y}
    ordinary_words = {schema.READER, schema.MARGIN, schema.TEXTURE, *schema.RATING_COLUMNS}
    if room_of(path) == "language":  # words of a sentence
        names -= ordinary_words
    tree = ast.parse(path.read_text(encoding="utf-8"))
    quoted = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    keywords = {schema.PATIENT_ID, schema.SERIES_UID, schema.SOP_UID}  # also attributes of a DICOM slice
    assert not quoted & (names - keywords)


def test_csv_and_stdout_are_written_in_one_place() -> None:
    """Guards against formulas and escape sequences hold for all that is written, not for some of it."""
    found = {
        (path.relative_to(SOURCE).as_posix(), call)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (call := ast.unparse(node.func)).endswith((".write_csv", "stdout.write"))
    }
    assert {(path, call.split(".")[-1]) for path, call in found} == {
        ("io/text_table.py", "write_csv"),
        ("report/console.py", "write"),
    }


RUN = """
import sys
from noduleclip.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code in (0, None), end.code
loaded = {{name.split(".")[0] for name in sys.modules}}
heavy = sorted(loaded & {{"torch", "timm", "torchvision", "pydicom", "onnx", "onnxruntime"}})
assert not heavy, heavy
"""


def run_light(arguments: list[str], tmp_path: Path) -> None:
    code = RUN.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["train"],
        ["embed"],
        ["merge"],
        ["query"],
        ["fuse"],
        ["serve"],
        ["verify"],
        ["demo"],
        ["prepare"],
        ["prepare", "lidc"],
        ["prepare", "seg"],
    ],
)
def test_help_imports_no_torch(command: list[str], tmp_path: Path) -> None:
    run_light([*command, "--help"], tmp_path)


def test_completion_imports_no_torch(tmp_path: Path) -> None:
    code = RUN.format(arguments=[])
    environment = {"_NODULECLIP_COMPLETE": "complete_bash", "COMP_WORDS": "noduleclip qu", "COMP_CWORD": "1"}
    import os

    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'noduleclip'\n" + code],
        capture_output=True, text=True, cwd=tmp_path, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "query" in done.stdout


def test_query_and_fuse_import_no_torch(index: Path, tmp_path: Path) -> None:
    run_light(["query", "--emb-dir", str(index), "--query", "> 6 mm", "--out", "q"], tmp_path)
    run_light(["fuse", "--emb-dir", str(index), "--query", "> 6 mm", "--unique", "patient"], tmp_path)


def test_a_nodule_of_the_index_imports_no_torch(index: Path, tmp_path: Path) -> None:
    row = open_index(index).read_rows([0]).row(0, named=True)
    place = f"{row[schema.DICOM_PATH]}:{row[schema.CENTER_X]},{row[schema.CENTER_Y]}"
    run_light(["query", "--emb-dir", str(index), "--like", "0"], tmp_path)
    run_light(["query", "--emb-dir", str(index), "--like", place, "--query", "> 6 mm"], tmp_path)
