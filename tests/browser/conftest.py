"""A real browser before a real server: only with `--browser`, as `nox -s browser` gives it."""

import contextlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from conftest import call
from noduleclip.phantom.patients import PhantomConfig, make_phantoms

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
MOST_BYTES = 150_000  # of a picture
Open = Callable[..., Any]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if config.getoption("--browser") else True


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: nox -s browser does")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=[*FLAGS, "--disable-sync"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of twenty phantom patients in slices of usual looks."""
    return make_phantoms(tmp_path_factory.mktemp("phantoms"), PhantomConfig(patients=20, seed=5)).roi_csv


@pytest.fixture(scope="session")
def phantom_index(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms as the model that comes along sees them."""
    out = tmp_path_factory.mktemp("served") / "phantoms"
    done = call("embed", "--roi-csv", phantoms, "--out-dir", out, "--device", "cpu", "--workers", 1)
    assert done.code == 0, done.err
    return out


@contextlib.contextmanager
def serving(index: Path, *options: str) -> Iterator[str]:
    """Serve an index; gives the address."""
    command = [sys.executable, "-m", "noduleclip", "serve", "--emb-dir", str(index), "--port", "0", *options]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = server.stderr.readline()
        address = re.search(r"http://\S+", line)
        assert address is not None, line
        yield address.group()
    finally:
        server.terminate()
        server.communicate()


@pytest.fixture(scope="session")
def address(browser: Any, phantom_index: Path) -> Iterator[str]:
    with serving(phantom_index) as found:
        yield found


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Open an address; what the page complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(
        address: str, *, bad_answers: bool = False, complaints_are_wanted: bool = False, **settings: Any
    ) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text)
                if said.type == "error"
                and not complaints_are_wanted
                and not (bad_answers and "Failed to load resource" in said.text)
                else None
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def assert_accessible(page: Any) -> None:
    """Check that axe finds nothing serious, and that nothing is cut off at the side."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed: nox -s browser does"
    )
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 10
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def save_picture(page: Any, path: Path) -> None:
    """Write what a page shows as a small PNG for the docs."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    few = picture.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    assert path.stat().st_size < MOST_BYTES
