"""Make the model that comes with the package: `python benchmarks/lidc_model.py SHARED_DATA OUT`.

Trains at 96 px for 64 epochs, seed 0, on all shared patients but the test ones of `split --seed 0` (no validation
patients: the last epoch is kept), and writes the weights in half precision to src/noduleclip/weights/lidc.pth, and
beside them the exported encoders and the list of the patients.
"""

import subprocess
import sys
from pathlib import Path

import torch

from noduleclip import schema
from noduleclip.engine.exports import export_encoders
from noduleclip.io.patients import format_patient_list, read_patient_list
from noduleclip.models.checkpoint import load_model, read_checkpoint, save_checkpoint

BUNDLED = Path(__file__).resolve().parents[1] / "src" / "noduleclip" / "weights" / "lidc.pth"
VIEWS = 2  # a half-turn apart: docs/decisions/0025-views-and-int8.md
RECIPE = ("--img-size", "96", "--epochs", "64")


def run(*arguments: object) -> None:
    """Run a command of the tool."""
    subprocess.run([sys.executable, "-m", "noduleclip", *map(str, arguments)], check=True)


def ship(checkpoint: Path) -> None:
    """Write a checkpoint again with its matrices and kernels in half precision, and export its encoders."""
    values = read_checkpoint(checkpoint)
    values["config"]["views"] = VIEWS
    for part in ("image_encoder", "text_encoder"):
        values[part] = {
            name: tensor.half() if tensor.dtype == torch.float32 and tensor.ndim > 1 else tensor
            for name, tensor in values[part].items()
        }
    save_checkpoint(BUNDLED, values)
    print(f"{BUNDLED}: {BUNDLED.stat().st_size / 1e6:.1f} MB")
    export()


def export() -> None:
    """Export the encoders of the bundled model beside its weights: image encoder in float32 and int8, text encoder."""
    folder = BUNDLED.with_suffix("")
    export_encoders(load_model(BUNDLED), folder)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")


def main(data: Path, out: Path) -> None:
    """Split, train, ship."""
    readers = data / "lidc_crops" / "rois_all_readers.csv"
    run("split", "--roi-csv", readers, "--out", out / "splits", "--seed", 0)
    patients = [(out / "splits" / f"{name}_patients.txt").read_text(encoding="utf-8") for name in ("train", "val")]
    (out / "patients.txt").write_text("".join(patients), encoding="utf-8")
    run(
        "train",
        "--roi-csv",
        readers,
        "--train-patients",
        out / "patients.txt",
        "--out",
        out / "run",
        "--resume",
        *RECIPE,
    )
    ship(out / "run" / "clip_best.pth")
    trained = sorted(read_patient_list(out / "patients.txt"))
    (BUNDLED.with_suffix("") / schema.TRAIN_PATIENTS).write_text(format_patient_list(trained), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
