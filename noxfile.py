"""What is checked before a change lands: `nox` runs tests, lint, types; `nox -s NAME` one of them.

Sessions that need torch share one environment, which takes several gigabytes; `lowest` and `pythons` have their own.
"""

import os
import re
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "docs", "tests"]
nox.options.error_on_missing_interpreters = False  # `pythons` takes those that are installed, in CI too
nox.needs_version = ">=2025.5.1"
PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))  # its classifiers

SHARED = Path(os.environ.get("NODULECLIP_NOX_ENV", Path(__file__).parent / ".nox" / "shared"))


def _shared_python(session: nox.Session) -> str:
    """Return the interpreter of the environment that holds torch, made anew when pyproject.toml changes."""
    python = SHARED / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = SHARED / "made-from"
    wanted = Path("pyproject.toml").read_text(encoding="utf-8")
    if not python.exists():
        session.run("python", "-m", "venv", str(SHARED), external=True)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        session.run(str(python), "-m", "pip", "install", "--quiet", "-e", ".[dev]", external=True)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    session.run(_shared_python(session), "-m", "pytest", *session.posargs, external=True)


@nox.session(venv_backend="none")
def slow(session: nox.Session) -> None:
    """Run the slow tests: kills at every moment, fuzzing, several processes, stores, odd environments."""
    session.run(_shared_python(session), "-m", "pytest", "-m", "slow", *session.posargs, external=True)


@nox.session
def light(session: nox.Session) -> None:
    """Write requirements-light.txt, and embed and search phantoms in an environment without torch."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    wanted = [line for line in project["dependencies"] if not re.match(r"(torch|timm|onnx|onnxscript)\b", line)]
    note = "# What noduleclip needs without training; written by `nox -s light` from pyproject.toml.\n"
    Path("requirements-light.txt").write_text(note + "".join(f"{line}\n" for line in wanted), encoding="utf-8")
    session.install("-r", "requirements-light.txt")
    session.install("--no-deps", ".")
    with tempfile.TemporaryDirectory() as folder:
        table, index = f"{folder}/phantoms/roi_with_diam.csv", f"{folder}/idx"
        session.run("noduleclip", "phantom", "--out", f"{folder}/phantoms", "--patients", "6")
        session.run("noduleclip", "embed", "--roi-csv", table, "--out-dir", index)
        session.run("noduleclip", "query", "--emb-dir", index, "--query", "a nodule larger than 8 mm")


@nox.session(python=PYTHONS)
def pythons(session: nox.Session) -> None:
    """Run the tests on each version of Python that is named in pyproject.toml and installed here."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions of all direct dependencies that pyproject.toml allows.

    What these depend on in turn is as new as it may be, so its warnings of coming changes are no failures here.
    """
    session.install("uv")
    install = ("uv", "pip", "install", "--quiet", "--python", session.virtualenv.location)
    session.run(*install, "--resolution", "lowest-direct", "-e", ".[dev]")
    session.run("python", "-m", "pytest", "-W", "default", *session.posargs)


@nox.session(venv_backend="none")
def crash(session: nox.Session) -> None:
    """Kill every command at every moment."""
    tests_of_crashes = ("tests/cli/test_crash.py", "-m", "slow or not slow", "--every-kill", "--tb=short")
    session.run(_shared_python(session), "-m", "pytest", *tests_of_crashes, *session.posargs, external=True)


@nox.session(venv_backend="none")
def ray(session: nox.Session) -> None:
    """Embed with Ray on this machine, and kill one of its workers."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "-e", ".[dev,ray]", external=True)
    session.run(
        python,
        "-m",
        "pytest",
        "tests/engine/test_ray.py",
        "-m",
        "slow or not slow",
        "--ray",
        *session.posargs,
        external=True,
    )


@nox.session(venv_backend="none")
def browser(session: nox.Session) -> None:
    """Use the explorer's page in Chromium, and make its pictures for the docs."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "-e", ".[dev,browser]", external=True)
    tests_of_page = ("tests/browser", "--browser", "--pictures", "docs/images")
    session.run(python, "-m", "pytest", *tests_of_page, *session.posargs, external=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    python = _shared_python(session)
    session.run(python, "-m", "ruff", "check", ".", external=True)
    session.run(python, "-m", "ruff", "format", "--check", ".", external=True)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    session.run(_shared_python(session), "-m", "mypy", external=True)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation site in site/ and test the pages; `nox -s docs -- serve` shows it while you write."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "-e", ".[dev,docs]", external=True)
    environment = {"NO_MKDOCS_2_WARNING": "1"}  # docs/decisions/0019-documentation-site.md
    session.run(python, "-m", "mkdocs", *(session.posargs or ("build", "--strict")), external=True, env=environment)
    if not session.posargs:
        session.run(python, "-m", "pytest", "tests/test_docs.py", "tests/test_site.py", external=True)


@nox.session(venv_backend="none")
def notebook(session: nox.Session) -> None:
    """Execute the notebooks of docs/notebooks on phantoms and keep their outputs."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "-e", ".[dev,docs]", external=True)
    session.run(
        python,
        "docs/run_notebook.py",
        external=True,
        env={"PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"},
    )


@nox.session(venv_backend="none")
def reference(session: nox.Session) -> None:
    """Write the reference pages anew."""
    session.run(_shared_python(session), "docs/make_reference.py", external=True)


@nox.session(venv_backend="none")
def audit(session: nox.Session) -> None:
    """Ask the Python advisory database about what is installed; needs the network."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "pip-audit", external=True)
    session.run(python, "-m", "pip_audit", "--local", "--skip-editable", external=True)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Measure all of docs/performance.md: `nox -s bench -- DATA OUT`."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "-e", ".[dev,bench]", external=True)
    session.run(python, "benchmarks/all.py", *session.posargs, external=True)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Hunt for inputs that break a reader: `nox -s fuzz -- --seconds 3600 --target dicom`; a night each otherwise."""
    python = _shared_python(session)
    session.run(python, "-m", "pip", "install", "--quiet", "-e", ".[dev,fuzz]", external=True)
    session.run(python, "-m", "fuzz.session", *session.posargs, env={"PYTHONPATH": "tests"}, external=True)
