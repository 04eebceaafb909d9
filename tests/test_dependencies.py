"""What is imported is declared in pyproject.toml, what is declared is used, and a missing extra is named."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {
    "PIL": "pillow",
    "axe_playwright_python": "axe-playwright-python",
    "cc3d": "connected-components-3d",
    "faiss": "faiss-cpu",
    "gdcm": "python-gdcm",
    "lance": "pylance",
    "nrrd": "pynrrd",
    "open_clip": "open-clip-torch",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "textual_image": "textual-image",
    "yaml": "pyyaml",
}
NOT_IMPORTED = {
    "onnxscript": "torch.onnx.export needs it",
    "pyjpegls": "pydicom decodes JPEG-LS with it",
    "httpx2": "the test client of starlette needs it",
    "ipykernel": "nbclient starts it",
    "mkdocs-material": "the theme in mkdocs.yml",
    "mkdocstrings": "a plugin in mkdocs.yml",
    "mypy": "a tool",
    "pytest-socket": "options of pytest",
    "ruff": "a tool",
}
EXTRAS_OF_THE_PACKAGE = ("excel", "lance", "pandas", "preview", "ray", "seg", "volumes", "web")
ALLOWED_EXTRAS = {
    "src": EXTRAS_OF_THE_PACKAGE,
    "tests": ("dev", "browser", "docs", "fuzz", "pandas", "ray"),
    "benchmarks": ("dev", "bench"),
    "docs": ("dev", "docs"),
    "noxfile.py": ("dev",),
}


def name_of(requirement: str) -> str:
    """Return the normalised name of a distribution."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def requirements_of(extras: Iterable[str]) -> list[str]:
    """Return the requirements of extras, those of the extras that they name in turn included."""
    found = []
    for extra in extras:
        for requirement in PROJECT["optional-dependencies"][extra]:
            if name_of(requirement) == PROJECT["name"]:
                named = re.search(r"\[(.*)\]", requirement)
                assert named, requirement
                found += requirements_of(one.strip() for one in named[1].split(","))
            else:
                found.append(requirement)
    return found


def declared_for(root: str) -> set[str]:
    return set(map(name_of, [*PROJECT["dependencies"], *requirements_of(ALLOWED_EXTRAS[root])]))


def files_of(root: str) -> list[Path]:
    path = ROOT / root
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


LOCAL = {path.stem for root in ("tests", "benchmarks") for path in files_of(root)} | {
    "noduleclip", *(path.name for path in (ROOT / "tests").iterdir() if path.is_dir()),
}  # fmt: skip


@functools.cache
def modules_imported_by(path: Path) -> set[str]:
    """Return the absolute imports of a file, those inside functions and by `pytest.importorskip` included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                found |= {name.name for name in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case ast.Call(func=ast.Attribute(attr="importorskip"), args=[ast.Constant(value=str(module)), *_]):
                found.add(module)
    return found


def distributions_imported_by(root: str) -> dict[str, Path]:
    """Return the distributions that the files below a root import, each with one of the files."""
    return {
        name_of(DISTRIBUTIONS.get(top, top)): path
        for path in files_of(root)
        for top in (module.split(".")[0] for module in modules_imported_by(path))
        if top not in sys.stdlib_module_names and top not in LOCAL
    }


@pytest.mark.parametrize("root", ALLOWED_EXTRAS)
def test_what_is_imported_is_declared(root: str) -> None:
    imported = distributions_imported_by(root)
    undeclared = {name: str(path) for name, path in imported.items() if name not in declared_for(root)}
    assert not undeclared


def test_what_is_declared_is_used() -> None:
    by_source = set(distributions_imported_by("src"))
    by_all = by_source.union(*map(distributions_imported_by, ALLOWED_EXTRAS))
    of_the_package = set(map(name_of, [*PROJECT["dependencies"], *requirements_of(EXTRAS_OF_THE_PACKAGE)]))
    of_developers = set(map(name_of, requirements_of(PROJECT["optional-dependencies"])))
    assert of_the_package - by_source <= set(NOT_IMPORTED)
    assert of_developers - by_all <= set(NOT_IMPORTED)
    assert set(NOT_IMPORTED) <= of_the_package | of_developers
    assert not set(NOT_IMPORTED) & by_all


def test_each_module_is_of_the_distribution_named_here() -> None:
    installed = importlib.metadata.packages_distributions()
    for module, distribution in DISTRIBUTIONS.items():
        assert module not in installed or distribution in map(name_of, installed[module])


def test_each_requirement_has_a_lowest_version() -> None:
    for requirement in [*PROJECT["dependencies"], *requirements_of(PROJECT["optional-dependencies"])]:
        assert ">=" in requirement, requirement


WITHOUT = """
import sys
sys.modules[{hidden!r}] = None
from noduleclip.cli import main
main({command!r})
"""
MISSING = [  # Ray is told of in tests/engine/test_ray.py
    ("web", "starlette", ["serve", "--emb-dir", "none"]),
    ("web", "uvicorn", ["serve", "--emb-dir", "none"]),
    ("web", "anyio", ["serve", "--emb-dir", "none"]),
    ("lance", "lance", ["query", "--emb-dir", "lance://none", "--query", "> 6 mm"]),
]


@pytest.mark.parametrize(("extra", "hidden", "command"), MISSING, ids=[hidden for _, hidden, _ in MISSING])
def test_a_missing_extra_is_named(extra: str, hidden: str, command: list[str]) -> None:
    code = WITHOUT.format(hidden=hidden, command=command)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f' needs {hidden}: pip install "noduleclip[{extra}]"\n')


def test_without_the_extra_for_pictures_they_are_of_characters(index: Path) -> None:
    command = ["query", "--emb-dir", str(index), "--query", "> 6 mm", "--topk", "1", "--preview"]
    code = WITHOUT.format(hidden="textual_image", command=command)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_version_of_python_that_is_named_is_allowed() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = [int(line.removeprefix(prefix)) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    least = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])
    assert least and named
    assert min(named) == int(least[1])
    assert sys.version_info[1] in named
