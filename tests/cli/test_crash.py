"""Killed at any moment, a command leaves each artefact as it was, or none, or a whole new one, and then runs again.

`pytest tests/cli/test_crash.py --every-kill` (`nox -s crash`) tries every operation on a file, many lengths of
a file, and moments drawn at random; the ordinary suite a sample of them.
"""

import io
import json
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import Collection, train_arguments
from noduleclip import schema
from noduleclip.engine.shards import open_shards
from noduleclip.errors import ArtefactError
from noduleclip.io.index.open import open_index
from noduleclip.models.checkpoint import load_model, read_checkpoint

if sys.platform == "win32":
    pytest.skip("kills by signal", allow_module_level=True)

from importers.lidc_phantoms import write_patients
from killing import Ended, Killer, forking, run_and_kill

SPLIT_FILES = (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS, schema.TEST_PATIENTS)
PREPARED = (
    schema.ROI_CSV, schema.NODULES_CSV, schema.PREPARE_JSON, schema.PREPARE_PAGE,
    *(f"{schema.SPLITS_FOLDER}/{name}" for name in SPLIT_FILES),
)  # fmt: skip
EVALUATION_FILES = (schema.EVALUATION_JSON, schema.EVALUATION_PAGE)
OF_THE_CLOCK = {"train_seconds", "val_seconds", "nodules_per_second", "seconds", "started", "date"}
OF_THE_RERUN = {"overwrite"}
OF_A_RUN = (schema.RUN_RECORD, schema.METRICS_LOG, schema.SEARCH_RECORD)
SEARCHED = (schema.TOP_K_CSV, schema.SEARCH_RECORD)
Files = dict[str, bytes]


@dataclass
class Totals:
    """What was tried."""

    kills: int = 0
    reruns: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """A command that writes a folder.

    Attributes:
        arguments: What is killed.
        again: What a user gives then.
        before: What makes the folder as it was before; None: it is not there.
        stop_before_at: The share of its operations on files at which `before` is killed itself.
        together: Files that are never of two runs.
        points: How many operations on files the ordinary suite kills at; with 0 it leaves the command out.
        bytes: How many lengths of a file it kills at.
        reruns: How many of these it runs again after.
    """

    arguments: Sequence[object]
    again: Sequence[object]
    before: Sequence[object] | None = None
    stop_before_at: float | None = None
    together: tuple[str, ...] = ()
    points: int = 4
    bytes: int = 2
    reruns: int = 1


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    with forking(tmp_path_factory.mktemp("killer")) as one:
        yield one


@pytest.fixture(scope="module")
def totals(request: pytest.FixtureRequest) -> Iterator[Totals]:
    counted = Totals()
    yield counted
    if request.config.getoption("--every-kill"):
        plugins = request.config.pluginmanager
        reporter, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")
        assert reporter is not None
        assert capture is not None
        with capture.global_and_fixture_disabled():
            reporter.write_line(
                f"\n{counted.kills} kills, {counted.reruns} reruns, artefacts lost: {len(counted.lost)}"
            )


@pytest.fixture(scope="module")
def scenarios(
    collection: Collection, checkpoint: Path, exported: Path, index: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Scenario]:
    out = tmp_path_factory.mktemp("crash") / "out"
    split = ["split", "--roi-csv", collection.roi_csv, "--out", out]
    train = train_arguments(collection, out)
    embed = ["embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", out, "--device", "cpu"]
    shard, merge = [*embed, "--shard", "1/1"], ["merge", "--out-dir", out]
    search = ["--emb-dir", index, "--query", "> 6 mm", "--out", out]
    evaluate = ["evaluate", "--emb-dir", index, "--out", out, "--draws", 3, "--resamples", 10]
    lidc = write_patients(tmp_path_factory.mktemp("crash") / "LIDC-IDRI")
    prepare = ["prepare", "lidc", "--data-root", lidc, "--out", out, "--workers", 1]
    phantom = ["phantom", "--out", out, "--patients", 3, "--workers", 1]

    def over(arguments: Sequence[object], old: Sequence[object], **more: Any) -> Scenario:
        return Scenario([*arguments, "--overwrite"], [*arguments, "--overwrite"], [*arguments, *old], **more)

    cheap: dict[str, Any] = {"points": 99, "reruns": 99}
    return {
        "split": Scenario(split, [*split, "--overwrite"], together=SPLIT_FILES, points=12, reruns=3),
        "split over": over(split, ["--train", 0.6, "--val", 0.2], together=SPLIT_FILES, points=99, reruns=3),
        "phantom": Scenario(phantom, phantom),
        "prepare": Scenario(prepare, [*prepare, "--overwrite"], together=PREPARED, points=0),
        "prepare over": over(prepare, ["--limit", 3], together=PREPARED, points=4, bytes=1),
        "query": Scenario(["query", *search], ["query", *search, "--overwrite"], **cheap),
        "query over": over(["query", *search], ["--topk", 3], together=SEARCHED, **cheap),
        "fuse": Scenario(["fuse", *search], ["fuse", *search, "--overwrite"], points=3),
        "fuse over": over(["fuse", *search], ["--topk", 3], together=SEARCHED, points=6),
        "export over": over(
            ["query", *search, "--export", out / "h.json", "--export", out / "h.mrk.json"],
            ["--topk", 3],
            together=("h.json", "h_images/0001.png", "h_images/0002.png", "h_images/0004.png"),
            points=12,
            reruns=3,
        ),
        "describe over": over(["describe", "--emb-dir", index, "--out", out], ["--where", "row < 9"], points=6),
        "evaluate": Scenario(evaluate, [*evaluate, "--overwrite"], together=EVALUATION_FILES, points=0),
        "evaluate over": over(evaluate, ["--seed", 1], together=EVALUATION_FILES, points=1, bytes=1),
        "embed": Scenario(embed, embed, points=3, bytes=1),
        "embed over": over(embed, ["--limit", 30], points=5, bytes=1),
        "shard": Scenario(shard, shard, points=3, bytes=1),
        "shard over": over(shard, ["--limit", 30], points=5, bytes=1),
        "merge": Scenario(merge, [*merge, "--overwrite"], shard, points=6, bytes=1),
        "train": Scenario(train, [*train, "--resume"], points=0),
        "train over": over(train, ["--seed", 1], points=1, bytes=1),
        "train resumed": Scenario([*train, "--resume"], [*train, "--resume"], train, 0.65, points=1, bytes=0),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "split", "split over", "phantom", "prepare", "prepare over", "query", "query over", "fuse", "fuse over",
        "export over", "describe over", "evaluate", "evaluate over", "embed", "embed over", "shard", "shard over",
        "merge", "train", "train over", "train resumed",
    ],
)  # fmt: skip
def test_a_killed_command_leaves_what_is_whole(
    killer: Killer, totals: Totals, scenarios: dict[str, Scenario], name: str, request: pytest.FixtureRequest
) -> None:
    every = request.config.getoption("--every-kill")
    if not (every or scenarios[name].points):
        pytest.skip("takes long: with --every-kill")
    case = _Case(killer, scenarios[name], totals, every)
    before = len(totals.lost)
    case.kill_all()
    assert totals.lost[before:] == []


class _Case:
    """One scenario, its folder before, and what it leaves when nobody disturbs it."""

    def __init__(self, killer: Killer, scenario: Scenario, totals: Totals, every: bool) -> None:
        self.killer, self.scenario, self.totals, self.every = killer, scenario, totals, every
        arguments = list(scenario.arguments)
        self.out = Path(str(arguments[arguments.index("--out-dir" if "--out-dir" in arguments else "--out") + 1]))
        self.kept = self.out.with_name("kept")
        self.old: Files = {}
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.rmtree(self.kept, ignore_errors=True)
        if scenario.before is not None:
            self._make_what_stood_there(scenario.before, scenario.stop_before_at)
            self.old = _read(self.out)
            shutil.copytree(self.out, self.kept)
        self.undisturbed = self._run(scenario.arguments)
        self.new = _read(self.out)
        assert self.undisturbed.points > 5
        assert self.new != self.old

    def _make_what_stood_there(self, arguments: Sequence[object], share: float | None) -> None:
        ended = self._run(arguments)
        if share is not None:
            shutil.rmtree(self.out)
            assert self.killer.run(arguments, self.out.parent, at_point=int(share * ended.points)).killed
            assert read_checkpoint(self.out / schema.LAST_CHECKPOINT)["progress"]["epoch"] == 1

    def _run(self, arguments: Sequence[object]) -> Ended:
        ended = self.killer.run(arguments, self.out.parent)
        assert ended.code == 0, ended.err
        return ended

    def kill_all(self) -> None:
        """Kill at every point, or at a sample; look at what is left; run again."""
        arguments = self.scenario.arguments
        points: Sequence[int] = range(1, self.undisturbed.points + 1)
        longest = max(len(content) for content in self.new.values())
        rng = random.Random(0)
        lengths: Sequence[int] = sorted({0, 1, *(int(longest ** rng.random()) for _ in range(30))})
        if not self.every:
            points, lengths = _thin(points, self.scenario.points), _thin(lengths, self.scenario.bytes)
        kills = [partial(self.killer.run, arguments, self.out.parent, at_point=point) for point in points]
        kills += [partial(self.killer.run, arguments, self.out.parent, at_byte=length) for length in lengths]
        again = set(_thin(range(len(kills)), len(kills) if self.every else self.scenario.reruns))
        for number, kill in enumerate(kills):
            self._restore()
            ended = kill()
            assert ended.killed, (kill.keywords, ended)
            self._judge(str(kill.keywords), rerun=number in again)
        for _ in range(12 if self.every else 0):
            self._restore()
            seconds = rng.uniform(0.2, 6)
            run_and_kill(arguments, seconds)
            self._judge(f"after {seconds:.2f} s", rerun=True)

    def _restore(self) -> None:
        for path in (self.out, *self.out.parent.glob("*.part")):
            shutil.rmtree(path, ignore_errors=True)
        if self.kept.exists():
            shutil.copytree(self.kept, self.out)

    def _judge(self, moment: str, rerun: bool) -> None:
        self.totals.kills += 1
        lost = [f"{self.scenario.arguments[0]}, killed {moment}: {what}" for what in self._find_lost()]
        if not lost and rerun and not self._is_whole():
            self.totals.reruns += 1
            self._run(self.scenario.again)
            left = _read(self.out)
            for name in sorted({*left, *self.new}):
                one, other = (_without_clock(name, files.get(name, b"")) for files in (left, self.new))
                if one != other:
                    lost.append(f"{self.scenario.arguments[0]}, killed {moment}: after the rerun {name} differs")
            lost += [f"{path}: is left" for path in (*self.out.rglob("*.part"), *self.out.parent.glob("*.part"))]
        self.totals.lost += lost

    def _is_whole(self) -> bool:
        """Whether the command had done all of its work, and so refuses to do it again."""
        if self.scenario.arguments[0] == "phantom":
            return self.out.exists()
        if "--overwrite" in self.scenario.again:
            return False
        if "--shard" in self.scenario.arguments:
            return any(self.out.rglob(schema.SHARD_MANIFEST))
        return (self.out / schema.INDEX_MANIFEST).exists()

    def _find_lost(self) -> Iterator[str]:
        left = _read(self.out)
        kinds = {}
        for name, content in left.items():
            known = {kind for kind, files in (("old", self.old), ("new", self.new)) if files.get(name) == content}
            if known:
                kinds[name] = known
            elif _opens(self.out / name):
                kinds[name] = {"new"}
            else:
                yield f"{name} is neither old nor new"
        if not _agree(kinds.get(name, {"old", "new"}) for name in self.scenario.together):
            yield f"a mixture: {kinds}"
        of_checkpoints = [kinds.get(name) for name in (schema.LAST_CHECKPOINT, schema.BEST_CHECKPOINT)]
        if of_checkpoints[0] == {"old"} != of_checkpoints[1] and self.scenario.stop_before_at is None:
            yield f"last.pth is old, the best is {of_checkpoints[1]}"
        manifests = [self.out / name for name in left if Path(name).name == schema.INDEX_MANIFEST]
        try:
            for manifest in manifests:
                open_index(manifest.parent)
            if any(Path(name).name == schema.SHARD_MANIFEST for name in left):
                open_shards(self.out)
        except ArtefactError as error:
            yield str(error)
        if manifests and not _agree(kinds.values()):
            yield f"a mixture: {kinds}"


def _agree(kinds: Any) -> bool:
    """Whether files may all be of one run."""
    common = {"old", "new"}
    for kind in kinds:
        common &= kind
    return bool(common)


def _thin(values: Sequence[int], most: int) -> Sequence[int]:
    """Take `most` of some values, evenly."""
    if len(values) <= most:
        return values
    return [values[int((at + 0.5) * len(values) / most)] for at in range(most)]


def _read(folder: Path) -> Files:
    """Read the files that a user sees."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    named = {str(path.relative_to(folder)): path for path in paths}
    return {name: path.read_bytes() for name, path in named.items() if "/." not in f"/{name}"}


def _opens(path: Path) -> bool:
    """Whether a file that says more than its reference, or less of the same run, is whole."""
    try:
        if path.name == schema.BEST_CHECKPOINT:
            load_model(path)
        elif path.suffix == ".pth":
            read_checkpoint(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] in ([1], [1, 2])
        elif path.suffix == ".html":
            return path.read_text().rstrip().endswith("</html>")
        else:
            return False
    except (ArtefactError, ValueError, AssertionError):
        return False
    return True


def _without_clock(name: str, content: bytes) -> object:
    """Return what a file says but for times, and for leave to overwrite, which a rerun needs."""
    if name.endswith(".pth"):
        return _drop_times(torch.load(io.BytesIO(content), weights_only=True))
    if name.endswith((".json", ".jsonl")) and name in OF_A_RUN:
        return [_drop_times(json.loads(text)) for text in _documents(name, content.decode())]
    return content


def _documents(name: str, text: str) -> list[str]:
    return text.splitlines() if name.endswith(".jsonl") else [text]


def _drop_times(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _drop_times(inner) for key, inner in value.items() if key not in OF_THE_CLOCK | OF_THE_RERUN}
    if isinstance(value, list | tuple):
        return [_drop_times(inner) for inner in value]
    return repr(value)  # a NaN is like another
