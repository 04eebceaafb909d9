"""Who may import whom, what stays out of a query, and where column names may stand."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import noduleclip
from command_tree import list_commands
from noduleclip import schema
from noduleclip.cli.commands import NAMES, build_commands
from noduleclip.io.index.open import open_index

SOURCE = Path(noduleclip.__file__).parent
LIBRARY = {"engine", "models", "retrieval", "evaluation", "importers", "exporters", "phantom", "io"}
# What the modules at the bottom may import of each other.
BASE: dict[str, set[str]] = {
    "errors": set(),
    "schema": set(),
    "machine": {"errors"},
    "setting": {"errors"},
    "config": {"setting"},
}
# What each package may import beside itself and the modules of BASE.
MAY_IMPORT: dict[str, set[str]] = {
    "language": set(),
    "io": {"language"},
    "retrieval": {"language"},
    "importers": {"io"},
    "exporters": {"io"},
    "phantom": {"io"},
    "evaluation": {"retrieval", "language"},
    "models": {"io", "language"},
    "engine": {"models", "io", "retrieval", "evaluation", "phantom", "language"},
    "workflows": {*LIBRARY, "language"},
    "report": {"workflows", "evaluation", "retrieval", "io", "language"},
    "web": {"workflows", "report", "retrieval", "io", "language"},
    "cli": {"workflows", "report", "web", "importers", "io"},
    "api": {"workflows", "report", "io", "language"},
    "__main__": {"cli"},
}
MAY_IMPORT_TORCH = {"models", "engine"}
MAY_IMPORT_SERVER = {"web"}


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


def test_imports_run_one_way() -> None:
    for path in FILES:
        room, imported = room_of(path), imports_of(path)
        if not room:
            continue  # imports for type checkers only: test_importing_the_package_loads_nothing
        rooms = {name.split(".")[1] for name in imported if name.startswith("noduleclip.")} - {"__version__"}
        allowed = BASE[room] if room in BASE else {*MAY_IMPORT[room], *BASE, room}
        upwards = rooms - allowed
        assert not upwards, f"{path.relative_to(SOURCE)} imports {upwards}"
        libraries = {name.split(".")[0] for name in imported}
        if room not in MAY_IMPORT_TORCH:
            assert not libraries & {"torch", "timm", "onnxscript"}, path
        if room not in MAY_IMPORT_SERVER:
            assert not libraries & {"starlette", "uvicorn", "anyio", "h11"}, path
        if room == "workflows":
            assert not libraries & {"typer", "rich"}, path
        if room in {*BASE, "language"}:
            assert libraries <= set(sys.stdlib_module_names) | {"noduleclip", "numpy"}, path


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_no_modules_import_each_other() -> None:
    """Neither at their top nor inside functions."""
    modules = {".".join(("noduleclip", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skipped = {id(one) for node in ast.walk(tree) if is_for_type_checkers(node) for one in ast.walk(node)}
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and id(node) not in skipped]
        names = {name for node in froms for name in (node.module, *(f"{node.module}.{one.name}" for one in node.names))}
        graph[module] = {name for name in names if name in modules}
    graphlib.TopologicalSorter(graph).prepare()  # raises for a circle, and names it


def test_column_names_stand_in_the_schema_only() -> None:
    names = {*schema.TEXT_COLUMNS, *schema.NUMBER_COLUMNS, schema.ABSOLUTE_PATH, schema.CENTER_X, schema.CENTER_Y}
    names -= {schema.PATIENT_ID, schema.SERIES_UID, schema.SOP_UID}  # also attributes of a DICOM slice
    ordinary_words = {schema.READER, schema.MARGIN, schema.TEXTURE, *schema.RATING_COLUMNS}
    for path in FILES:
        if path.name != "schema.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            quoted = {
                one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
            assert not quoted & (names - ordinary_words if room_of(path) == "language" else names), path


RUN = """
import sys
from noduleclip.cli import main
for line in {lines!r}:
    try:
        main(line)
    except SystemExit as end:
        assert end.code in (0, None), (line, end.code)
    loaded = {{name.split(".")[0] for name in sys.modules}}
    heavy = sorted(loaded & {{"torch", "timm", "torchvision", "pydicom", "onnx", "onnxruntime", "nibabel", "nrrd"}})
    assert not heavy, (line, heavy)
"""


def test_the_commands_are_put_together_without_tables(tmp_path: Path) -> None:
    """Help and completion start in a tenth of a second; polars alone takes two."""
    heavy = {"polars", "numpy", "pyarrow", "rich.progress", "importlib.metadata"}
    assert not heavy & list_imports("from noduleclip.cli.commands import build_commands; build_commands()", tmp_path)


def test_a_command_is_put_together_alone(tmp_path: Path) -> None:
    imported = list_imports("from noduleclip.cli.commands import build_commands; build_commands('query')", tmp_path)
    assert {name for name in imported if name.endswith(("_command", "_commands"))} == {"noduleclip.cli.query_command"}
    assert sorted(build_commands().commands) == sorted(NAMES)


def list_imports(code: str, folder: Path) -> set[str]:
    """Return the modules that a new process has imported after some code."""
    line = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(line, capture_output=True, text=True, cwd=folder, check=True).stdout.split())


def run_light(tmp_path: Path, *lines: list[str]) -> None:
    """Run command lines one after the other in one process, and check that none of them imports what is heavy."""
    code = RUN.format(lines=lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_help_imports_no_torch(tmp_path: Path) -> None:
    names = [(), ("prepare",), *list_commands()]
    run_light(tmp_path, *([*name, "--help"] for name in names))


def test_completion_imports_no_torch(tmp_path: Path) -> None:
    code = RUN.format(lines=[[]])
    environment = {"_NODULECLIP_COMPLETE": "complete_bash", "COMP_WORDS": "noduleclip qu", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'noduleclip'\n" + code],
        capture_output=True, text=True, cwd=tmp_path, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "query" in done.stdout


def test_searching_and_describing_import_no_torch(index: Path, tmp_path: Path) -> None:
    row = open_index(index).read_rows([0]).row(0, named=True)
    place = f"{row[schema.DICOM_PATH]}:{row[schema.CENTER_X]},{row[schema.CENTER_Y]}"
    at = ["--emb-dir", str(index)]
    run_light(
        tmp_path,
        ["query", *at, "--query", "> 6 mm", "--out", "q"],
        ["fuse", *at, "--query", "> 6 mm", "--unique", "patient"],
        ["describe", *at, "--where", "row < 9", "--out", "d"],
        ["query", *at, "--like", "0"],
        ["query", *at, "--like", place, "--query", "> 6 mm"],
    )
