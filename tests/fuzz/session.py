"""Hunt for inputs that break a reader: `nox -s fuzz -- --seconds 3600 --target dicom`.

Each target runs in a process of its own, started anew where an input ends it or hangs it in code written in C. What
breaks the contract is kept under `--out`, by target, one folder to a kind. Coverage guides the hunt where atheris is
installed.
"""

import argparse
import faulthandler
import importlib.util
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from fuzz.mutate import MAX_BYTES, Mutator

NIGHT_SECONDS = 8 * 3600
CORPUS = Path(__file__).parent / "corpus"
_HUNG_SECONDS = 60.0
_KEPT_OF_A_KIND = 3
_COUNTS = struct.Struct("QQQddd")


@dataclass
class Record:
    """What came of a hunt.

    Attributes:
        target: Name of the target.
        executions: Inputs read.
        accepted: Inputs that were accepted.
        broken: Inputs that broke the contract.
        seconds: Time taken.
        peak_mb: Largest resident memory.
        grown_mb: What of it came after the corpus had been read once.
        slowest_s: Most processor time that an input took.
        kinds: Ways in which the contract was broken, with an input each.
    """

    target: str
    executions: int = 0
    accepted: int = 0
    broken: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    grown_mb: float = 0.0
    slowest_s: float = 0.0
    kinds: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = self.executions / self.seconds if self.seconds else 0
        return (
            f"{self.target}: {self.executions:,} executions ({rate:,.0f}/s), {self.accepted:,} accepted, "
            f"{self.broken:,} broke the contract in {len(self.kinds)} ways, "
            f"{self.peak_mb:.0f} MB resident at most, {self.grown_mb:.0f} MB of it after the corpus, "
            f"slowest {1000 * self.slowest_s:,.0f} ms"
        )


@dataclass(frozen=True)
class Order:
    """What a process is told to do."""

    target: str
    seconds: float
    executions: int
    seed: int
    engine: str
    out: str
    scratch: str


def hunt(target: str, out: Path, *, seconds: float, executions: int = 1 << 62, seed: int = 0, engine: str) -> Record:
    """Hunt in processes of their own.

    Args:
        target: Name of the target.
        out: Where inputs that break the contract are kept.
        seconds: Time to take.
        executions: Inputs after which to stop.
        seed: Seed of everything random.
        engine: "atheris" or "plain".
    """
    record = Record(target)
    start = time.monotonic()
    while (left := seconds - (time.monotonic() - start)) > 0 and record.executions < executions:
        with tempfile.TemporaryDirectory() as scratch:
            order = Order(target, left, executions - record.executions, seed, engine, str(out), scratch)
            (Path(scratch) / "counts").write_bytes(bytes(_COUNTS.size))
            ended = _watch(order)
            _add_counts(record, Path(scratch))
            if ended:
                record.broken += 1
                record.executions += 1
                content = (Path(scratch) / "current").read_bytes()
                keep(out / target, ended, content, (Path(scratch) / "log").read_text(errors="backslashreplace")[-8000:])
        seed += 1
    record.seconds = time.monotonic() - start
    for kind in sorted((out / target).glob("*/")):
        record.kinds[kind.name] = str(next(path for path in sorted(kind.iterdir()) if path.suffix != ".log"))
    return record


def keep(folder: Path, kind: str, content: bytes, details: str) -> None:
    """Keep an input, unless there are enough of its kind."""
    place = folder / kind
    place.mkdir(parents=True, exist_ok=True)
    if len(list(place.iterdir())) < 2 * _KEPT_OF_A_KIND:
        path = place / sha256(content).hexdigest()[:12]
        path.write_bytes(content)
        path.with_suffix(".log").write_text(details, encoding="utf-8", errors="backslashreplace")


def _watch(order: Order) -> str:
    """Run a process to its end; say how an input ended it, or ""."""
    command = [sys.executable, __file__, "--order", json.dumps(asdict(order))]
    with (Path(order.scratch) / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment())
        seen, since = -1, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(0.1)
                done = _read_counts(Path(order.scratch))[0]
                if done != seen:
                    seen, since = done, time.monotonic()
                if time.monotonic() - since > _HUNG_SECONDS and (Path(order.scratch) / "current").exists():
                    process.send_signal(signal.SIGABRT)  # it writes where it is to its log
                    process.wait(_HUNG_SECONDS)
                    return "hung"
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    if process.returncode < 0:
        return f"died-{signal.Signals(-process.returncode).name}"
    if process.returncode:
        text = (Path(order.scratch) / "log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the hunt for {order.target} ended with {process.returncode}:\n{text[-3000:]}")
    return ""


def _environment() -> dict[str, str]:
    here = Path(__file__).parents[1]
    paths = [str(here), str(here.parent / "src"), os.environ.get("PYTHONPATH", "")]
    scratch = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return os.environ | scratch | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _read_counts(scratch: Path) -> tuple[int, int, int, float, float, float]:
    return _COUNTS.unpack((scratch / "counts").read_bytes())


def _add_counts(record: Record, scratch: Path) -> None:
    executions, accepted, broken, peak_mb, warm_mb, slowest_s = _read_counts(scratch)
    record.executions += executions
    record.accepted += accepted
    record.broken += broken
    record.peak_mb = max(record.peak_mb, peak_mb)
    record.slowest_s = max(record.slowest_s, slowest_s)
    record.grown_mb = max(record.grown_mb, peak_mb - (warm_mb or peak_mb))


# In the process.


def _obey(order: Order) -> None:
    faulthandler.enable()
    if order.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["noduleclip", "pydicom"]):
            from fuzz import targets
    else:
        from fuzz import targets
    target = targets.TARGETS[order.target]
    scratch, place = Path(order.scratch), Path(order.scratch) / "place"
    place.mkdir()
    os.environ["XDG_CACHE_HOME"] = str(scratch)
    corpus = [path.read_bytes() for path in sorted((CORPUS / order.target).iterdir())]
    counts = [0, 0, 0, 0.0, 0.0, 0.0]
    with (scratch / "counts").open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)

    def read(content: bytes) -> None:
        (scratch / "current").write_bytes(content)
        start = time.process_time()
        try:
            counts[1] += targets.check(target, content, place)
        except targets.BrokenContractError as error:
            counts[2] += 1
            keep(Path(order.out) / order.target, error.kind, content, str(error))
        counts[0] += 1
        counts[3] = targets.peak_mb()
        counts[5] = max(counts[5], time.process_time() - start)
        shared[:] = _COUNTS.pack(*counts)

    for content in corpus:
        read(content)
    counts[4], counts[5] = targets.peak_mb(), 0.0  # what is imported or made once is read and built by now
    mutator = Mutator(order.seed, corpus, target.words, target.restructure)
    if order.engine == "atheris":
        _hunt_by_coverage(order, read, mutator)
        return
    end = time.monotonic() + order.seconds
    while time.monotonic() < end and counts[0] < order.executions:
        read(mutator.draw())


def _hunt_by_coverage(order: Order, read: Callable[[bytes], None], mutator: Mutator) -> None:
    """Let libFuzzer keep what reaches new code; half of the mutations are ours. Ends the process."""
    import atheris

    grown = Path(order.out) / ".grown" / order.target
    grown.mkdir(parents=True, exist_ok=True)

    def mutate(content: bytes, most_bytes: int, seed: int) -> bytes:
        changed: bytes = mutator.mutate(content) if seed % 2 else atheris.Mutate(content, len(content) + 64)
        return changed[:most_bytes]

    options = {
        "max_total_time": max(1, int(order.seconds)),
        "runs": min(order.executions, 2**31 - 1),
        "seed": order.seed + 1,
        "max_len": MAX_BYTES,
        # Time, memory and what ends the process are watched by us.
        **dict.fromkeys(("timeout", "rss_limit_mb", "detect_leaks", "handle_segv", "handle_abrt", "handle_bus"), 0),
        **dict.fromkeys(("handle_fpe", "handle_ill", "handle_int", "handle_term", "print_final_stats"), 0),
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    folders = [str(grown), str(CORPUS / order.target)]
    atheris.Setup([sys.argv[0], *arguments, *folders], read, custom_mutator=mutate)
    atheris.Fuzz()


def main(arguments: Sequence[str] | None = None) -> None:
    """Hunt, one target after the other, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=NIGHT_SECONDS, help="time for each target")
    parser.add_argument("--target", action="append", choices=sorted(path.name for path in CORPUS.iterdir()))
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="where inputs that broke something go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("auto", "atheris", "plain"), default="auto")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.order:
        _obey(Order(**json.loads(chosen.order)))
        return
    engine = chosen.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "plain"
    chosen.out.mkdir(parents=True, exist_ok=True)
    records = []
    for target in chosen.target or sorted(path.name for path in CORPUS.iterdir()):
        record = hunt(target, chosen.out, seconds=chosen.seconds, seed=chosen.seed, engine=engine)
        records.append(record)
        print(record, flush=True)
        for kind, path in record.kinds.items():
            print(f"  {kind}: {path}", flush=True)
    print(
        f"total ({engine}): {sum(record.executions for record in records):,} executions in "
        f"{sum(record.seconds for record in records):,.0f} s, "
        f"{sum(len(record.kinds) for record in records)} ways to break the contract, "
        f"{max(record.peak_mb for record in records):.0f} MB resident at most"
    )
    (chosen.out / "totals.json").write_text(json.dumps([asdict(record) for record in records], indent=2) + "\n")
    sys.exit(any(record.kinds for record in records))


if __name__ == "__main__":
    main()
