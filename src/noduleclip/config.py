"""The configurations of crops, models and training, and the constants that they share with the rest."""

import functools
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from noduleclip.setting import Checked, Setting, require, setting_field

MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 10.0
MAX_PIXELS = 4096 * 4096  # of one slice
INDEXED_ROWS = 200_000  # from so many on a vector index is faster: docs/decisions/0016-lance.md
FLOAT32, INT8 = "float32", "int8"
PRECISIONS = (FLOAT32, INT8)  # arithmetic of an image encoder
VIEWS: dict[int, tuple[tuple[bool, int], ...]] = {
    1: ((False, 0),),
    2: ((False, 0), (False, 2)),
    4: tuple((False, turns) for turns in range(4)),
    8: tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4)),
}
"""Views of a crop by their number: whether it is mirrored along the diagonal, then quarter turns."""
ALPHA = 0.5  # weight of the image beside what was measured
SOFTNESS_MM = 1.5  # of the rule beside an interval
MODEL_PANEL, OPTIMISATION_PANEL, RUNTIME_PANEL = "Model", "Optimisation", "Runtime"
LUNG_WINDOW_HU = (-1350.0, 150.0)
SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
CALCIUM_WINDOW_HU = (100.0, 1000.0)

Amp = Literal["auto", "off", "bf16", "fp16"]
_AMP_CHOICES = typing.get_args(Amp)


def _setting(default: Any, help_text: str, **rest: Any) -> Any:
    return setting_field(default, Setting(help=help_text, **rest))


_model = functools.partial(_setting, panel=MODEL_PANEL)
_runtime = functools.partial(_setting, panel=RUNTIME_PANEL)
_optimisation = functools.partial(_setting, panel=OPTIMISATION_PANEL)


@dataclass(frozen=True, kw_only=True)
class CropConfig(Checked):
    """The square of tissue that the image encoder sees.

    The order of the fields is part of a model's id.
    """

    fov_mm: float = _model(48.0, "Side of a crop in millimetres.", minimum=16, maximum=200, unit="mm")
    size_px: int = _model(64, "Side of a crop in pixels.", option="--img-size", minimum=16, maximum=512, unit="px")
    windows_hu: tuple[tuple[float, float], ...] = _setting(
        (LUNG_WINDOW_HU, SOFT_TISSUE_WINDOW_HU, CALCIUM_WINDOW_HU),
        "(low, high) in HU of each input channel; values are clipped to it and scaled to [0, 1].",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "windows_hu", tuple((float(low), float(high)) for low, high in self.windows_hu))
        are_windows = len(self.windows_hu) > 0 and all(low < high for low, high in self.windows_hu)
        require(are_windows, "windows_hu", "one or more (low, high) pairs in HU", self.windows_hu)

    @property
    def pixel_mm(self) -> float:
        """Side of one output pixel in millimetres."""
        return self.fov_mm / self.size_px


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Checked):
    """Architecture of the two encoders, and the crop that the image encoder was made for.

    The order of the fields is part of a model's id.
    """

    backbone: str = _model("resnet10t", "Image encoder: the name of any timm model.")
    emb: int = _model(128, "Width of the shared embedding.", minimum=8, maximum=4096)
    outline_width: int = _setting(32, "Channels of the decoder that draws outlines.", minimum=1, maximum=1024)
    text_width: int = _setting(64, "Width of the text encoder's tokens.")
    text_layers: int = _setting(2, "Transformer layers of the text encoder.", minimum=1, maximum=12)
    views: int = _model(
        2,
        "Views of a crop that embed averages: 1, 2 (a half-turn apart), 4 (quarter turns) or 8 (and mirrored).",
        choices=tuple(VIEWS),
    )
    crop: CropConfig = field(default_factory=CropConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.backbone), "--backbone", "the name of a timm model", "nothing")
        fits = self.text_width % 4 == 0 and 16 <= self.text_width <= 1024
        require(fits, "text_width", "a multiple of 4 in [16, 1024]", self.text_width)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Checked):
    """How the encoders are trained."""

    epochs: int = _optimisation(44, "Passes over the training nodules.", minimum=1)
    bs: int = _optimisation(32, "Nodules in an optimiser step, of all processes together.", minimum=2)
    accumulate: int = _optimisation(1, "Parts in which a step is computed, to save memory.", minimum=1)
    lr: float = _optimisation(6e-3, "Peak learning rate.", above=0)
    weight_decay: float = _optimisation(0.1, "AdamW's weight decay, for matrices only.", minimum=0, below=1)
    warmup_epochs: float = _optimisation(
        2.0, "Epochs of linear warm-up, at most half of all; cosine decay follows.", minimum=0
    )
    cooldown_epochs: int = _optimisation(
        4, "The last epochs, at most a tenth of them: without stretching, at a lower learning rate.", minimum=0
    )
    clip_norm: float = _setting(1.0, "Largest norm of the gradient.", above=0)
    prompts: int = _optimisation(96, "Sentences about size sampled for each step.", minimum=8)
    rating_prompts: int = _optimisation(
        96,
        "Sentences about readers' ratings sampled for each step, if the table has any; 0 = sizes only.",
        minimum=0,
    )
    rating_weight: float = _optimisation(2.0, "Weight of the loss of sentences about ratings.", minimum=0)
    text_steps: int | None = _optimisation(
        None,
        "Steps of the last stage: a new text encoder learns calibrated probabilities on the images of the frozen image "
        "encoder; 0 = keep the one of the epochs. (default: 1,500, or 0 where the epochs have fewer than 500)",
        minimum=0,
    )
    outline_weight: float = _optimisation(
        1.2, "Weight of learning the readers' outlines; 0 = diameters only.", minimum=0
    )
    ema_decay: float = _optimisation(
        0.98,
        "Decay per step of the averaged weights, which are validated and saved; 0 = no average.",
        minimum=0,
        below=1,
    )
    patience: int | None = _optimisation(
        None, "Stop after so many epochs without improvement. (default: never)", minimum=1
    )
    amp: Amp = _runtime("auto", "Mixed precision on CUDA.", choices=_AMP_CHOICES)  # noqa: RUF009 - returns a field
    seed: int = _runtime(0, "Seed of all random numbers.", minimum=0)
    max_rotation_deg: float = _setting(180.0, "Largest random rotation.")
    max_zoom: float = _optimisation(1.25, "Largest random zoom, diameters included.", minimum=1, maximum=1.5)
    max_stretch: float = _optimisation(
        1.22, "Largest random stretch in one direction; diameters follow the outlines.", minimum=1, maximum=1.5
    )
    max_shift_mm: float = _optimisation(2.0, "Largest random shift of a crop's centre.", minimum=0, maximum=8)
    noise_hu: float = _setting(30.0, "Largest standard deviation of added noise.", minimum=0, maximum=200)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.accumulate <= self.bs, "--accumulate", "between 1 and --bs", self.accumulate)

    @property
    def main_epochs(self) -> int:
        """Epochs before the cooldown."""
        return self.epochs - min(self.cooldown_epochs, self.epochs // 10)
