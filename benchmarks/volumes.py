"""Ten points in volumes of 512 x 512 x 800 through `prepare csv`: `python benchmarks/volumes.py OUT [SLICES]`.

A synthetic chest of 16 bits with noise, 400 MB of values, in each format. Prints the size of the file, seconds, and
the largest resident memory of the command with its processes together.
"""

import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

SIDE_PX, POINTS = 512, 10
SPACING_MM = (0.7, 0.7, 0.625)
_INTERVAL_S = 0.01
_KINDS = {
    "a.nii.gz": "gzip",
    "a.nii": "raw",
    "a.nrrd": "gzip",
    "b.nrrd": "raw",
    "a.mha": "zlib",
    "b.mha": "raw",
}


def make_planes(slices: int) -> Iterator[bytes]:
    """Yield planes of lung, soft tissue and air, with the noise of one of a few planes."""
    rng = np.random.default_rng(0)
    y, x = np.indices((SIDE_PX, SIDE_PX)) - SIDE_PX / 2
    body = (x / 220) ** 2 + (y / 170) ** 2 < 1
    lungs = (((np.abs(x) - 95) / 75) ** 2 + (y / 120) ** 2) < 1
    hu = np.where(lungs, -860, np.where(body, 40, -1000))
    noise = [rng.normal(0, 20, hu.shape) for _ in range(7)]
    for k in range(slices):
        yield np.clip(hu + np.roll(noise[k % 7], k, axis=1), -1024, 3071).astype("<i2").tobytes()


def write_volume(path: Path, packing: str, slices: int) -> None:
    """Write a volume, plane by plane."""
    x, y, z = SPACING_MM
    with path.open("wb") as file:
        if ".nii" in path.suffixes:
            header = nibabel.Nifti1Header()
            header.set_data_dtype(np.int16)
            header.set_data_shape((SIDE_PX, SIDE_PX, slices))
            header.set_sform(np.diag([-x, -y, z, 1]), code=1)
            header["vox_offset"], header["magic"] = 352, b"n+1"
            start = header.binaryblock + bytes(4)
            if packing == "raw":
                file.write(start)
                start = b""
        elif path.suffix == ".nrrd":
            lines = [
                *("NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior"),
                *(f"sizes: {SIDE_PX} {SIDE_PX} {slices}", f"space directions: ({x},0,0) (0,{y},0) (0,0,{z})"),
                *("space origin: (0,0,0)", "endian: little", f"encoding: {packing}", "", ""),
            ]
            file.write("\n".join(lines).encode())
            start = b""
        else:
            lines = [
                *("ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"),
                *(f"CompressedData = {packing == 'zlib'}", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0"),
                *(f"ElementSpacing = {x} {y} {z}", f"DimSize = {SIDE_PX} {SIDE_PX} {slices}"),
                *("ElementType = MET_SHORT", "ElementDataFile = LOCAL", ""),
            ]
            file.write("\n".join(lines).encode())
            start = b""
        stream = zlib.compressobj(6, zlib.DEFLATED, 31 if packing == "gzip" else 15)
        for content in (start, *make_planes(slices)):
            file.write(content if packing == "raw" else stream.compress(content))
        if packing != "raw":
            file.write(stream.flush())


def run(*arguments: object) -> tuple[float, float]:
    """Run a command of the tool: seconds, and the peak of the resident memory of it and its processes in MB."""
    started, peak_kb = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "noduleclip", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while process.poll() is None:
        peak_kb = max(peak_kb, sum(map(resident_kb, list_tree(process.pid))))
        time.sleep(_INTERVAL_S)
    assert process.stderr is not None
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    return time.perf_counter() - started, peak_kb / 1024


def list_tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in list_tree(int(child)))]


def resident_kb(pid: int) -> int:
    """Return the resident memory of a process; 0 where it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def main() -> None:
    """Make the volumes that are not there yet, then print a table."""
    out, slices = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 800
    folders = {name: out / f"{packing}-{name}" for name, packing in _KINDS.items()}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).exists():
            write_volume(folder / name, _KINDS[name], slices)
    print("| file | packing | MB | s | peak MB |\n| --- | --- | --- | --- | --- |")
    for name, folder in folders.items():
        places = [(0.7 * (100 + 30 * n), 0.7 * 256, 0.625 * slices * (n + 0.5) / POINTS) for n in range(POINTS)]
        rows = [f"{x},{y},{z},8,{name.partition('.')[0]}" for x, y, z in places]
        (folder / "nodules.csv").write_text("\n".join(["x,y,z,diameter_mm,seriesuid", *rows, ""]), encoding="utf-8")
        table = ("--table", folder / "nodules.csv", "--data-root", folder)
        seconds, peak_mb = run("prepare", "csv", *table, "--out", folder / "out", "--overwrite")
        size_mb = (folder / name).stat().st_size / 2**20
        print(f"| `{name[1:]}` | {_KINDS[name]} | {size_mb:.0f} | {seconds:.1f} | {peak_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
