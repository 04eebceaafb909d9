"""`query` on an index whose text encoder was made to harm: one line, exit code 4, soon, in little memory."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command
from hostile_encoders import BOMBS, empty_nodes, make_bomb, nest
from noduleclip import schema
from noduleclip.io.index.open import open_index
from stores import write_manifest

pytestmark = pytest.mark.slow

MOST_MB = 300
MOST_SECONDS = 60  # of which the imports on a busy machine take nearly all

BY_HAND: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a graph in a graph, 10,000 deep": (lambda sound: nest(sound, 10_000), "operations within operations|2 graphs"),
    "ten million empty operations": (lambda sound: empty_nodes(10_000_000), "more than 20,000 operations"),
    "noise": (lambda sound: sound[: len(sound) // 2], "not a readable text encoder"),
}


def put_tower(index: Path, folder: Path, encoder: bytes) -> Path:
    """Copy an index with another text encoder, which its manifest vouches for."""
    shutil.copytree(index, folder)
    made = open_index(folder).manifest
    (folder / schema.TEXT_TOWER).write_bytes(encoder)
    write_manifest(
        folder, model_id=made.model_id, checkpoint_sha256=made.checkpoint_sha256, model=made.model,
        rows=made.rows, scale=made.scale, bias=made.bias,
    )  # fmt: skip
    return folder


# A child's peak begins with what its parent holds when it forks: so a small process stands between.
WATCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:], stdout=subprocess.DEVNULL, timeout=float(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(code)
"""


def run_query(folder: Path) -> tuple[int, str, float]:
    """Return the exit code, stderr and peak resident memory in MB of a query in a process of its own."""
    query = [sys.executable, "-m", "noduleclip", "query", "--emb-dir", str(folder), "--query", "> 6 mm"]
    watch = [sys.executable, "-c", WATCH, str(MOST_SECONDS), *query]
    done = subprocess.run(watch, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, float(done.stdout or "nan")


# Those that ran on, or took gigabytes, where the graph was run or given to a protobuf library.
HEAVY = [
    *("Loop of 2^62", "ConstantOfShape", "Concat doubled", "MatMul of a column and a row", "a million operations"),
    *("a million texts", "ten million empty operations", "a graph in a graph, 10,000 deep"),
]


def make_tower(index: Path, name: str) -> tuple[bytes, str]:
    sound = (index / schema.TEXT_TOWER).read_bytes()
    if name in BY_HAND:
        make, message = BY_HAND[name]
        return make(sound), message
    return make_bomb(sound, name), BOMBS[name][1]


@pytest.mark.parametrize("name", [name for name in (*BOMBS, *BY_HAND) if name not in HEAVY])
def test_a_tower_made_to_harm_is_refused(noduleclip: Command, index: Path, tmp_path: Path, name: str) -> None:
    encoder, message = make_tower(index, name)
    done = noduleclip("query", "--emb-dir", put_tower(index, tmp_path / "index", encoder), "--query", "> 6 mm")
    check_refusal(done.code, done.err, message)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux counts it")
@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_tower_is_refused_soon_and_in_little_memory(index: Path, tmp_path: Path, name: str) -> None:
    encoder, message = make_tower(index, name)
    code, errors, peak_mb = run_query(put_tower(index, tmp_path / "index", encoder))
    check_refusal(code, errors, message)
    assert peak_mb < MOST_MB


def check_refusal(code: int, errors: str, message: str) -> None:
    assert code == 4, errors
    assert len(errors.splitlines()) == 1
    assert len(errors) < 1000
    assert re.search(message, errors), errors
