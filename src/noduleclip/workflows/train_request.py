"""The request of a training: data, architecture, hyperparameters and destination, checked before anything is read."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from noduleclip.config import ModelConfig, TrainConfig
from noduleclip.io.patients import read_patient_list, refuse_overlap
from noduleclip.models.image_encoder import check_backbone
from noduleclip.setting import to_options
from noduleclip.workflows.roi_crops import TableRequest


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train on, what to train, and where the results go.

    Attributes:
        table: The ROI table, and the policy on unusable rows.
        train_patients: File of training patients, one id a line.
        val_patients: File of validation patients, which choose the best epoch; None = the last epoch is the best one.
        out: Folder for the checkpoints and the records of the run.
        model: Architecture.
        config: Hyperparameters.
        pretrained: Start from the backbone's published weights.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        resume: Continue the run in `out`, if an epoch of it was completed.
        overwrite: Replace the run in `out`.
    """

    table: TableRequest
    train_patients: Path
    val_patients: Path | None = None
    out: Path
    model: ModelConfig = field(default_factory=ModelConfig)
    config: TrainConfig = field(default_factory=TrainConfig)
    pretrained: bool = False
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False

    @property
    def patient_files(self) -> tuple[Path, ...]:
        """The patient lists."""
        return (self.train_patients,) if self.val_patients is None else (self.train_patients, self.val_patients)

    def settings(self) -> dict[str, Any]:
        """Return the options that repeat this run with `train --config`."""
        own = {name: getattr(self, name) for name in ("train_patients", "val_patients", "out", "pretrained", "device")}
        values = {**asdict(self.table), **own, **to_options(self.model), **to_options(self.config)}
        del values["keep"]
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def check(self) -> None:
        """Check the patient lists and the backbone.

        Raises:
            NoduleclipError: A list cannot be read, the lists share patients, or timm has no such backbone.
        """
        options = ("--train-patients", "--val-patients")
        lists = zip(options, self.patient_files, strict=False)
        refuse_overlap({option: read_patient_list(file) for option, file in lists})
        check_backbone(self.model.backbone, self.pretrained)
