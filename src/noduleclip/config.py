"""Frozen, self-checking settings, saved as JSON beside what they made. Knows the standard library alone."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from noduleclip.errors import ConfigError

MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 10.0
MAX_PIXELS = 4096 * 4096  # of one slice
INDEXED_ROWS = 200_000  # from so many on a vector index is faster: docs/decisions/0016-lance.md
SOFTNESS_MM = 1.5  # of the rule beside an interval
LUNG_WINDOW_HU = (-1350.0, 150.0)
SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)

Amp = Literal["auto", "off", "bf16", "fp16"]


def _check(ok: bool, option: str, allowed: str, value: object) -> None:
    if not ok:
        raise ConfigError(f"{option} must be {allowed}, got {value}")


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """The square of tissue that the image encoder sees.

    Attributes:
        fov_mm: Side of the square in millimetres.
        size_px: Side of the resampled crop in pixels.
        windows_hu: (low, high) in HU of each input channel; values are clipped to it and scaled to [0, 1].
    """

    fov_mm: float = 48.0
    size_px: int = 64
    windows_hu: tuple[tuple[float, float], ...] = (LUNG_WINDOW_HU, SOFT_TISSUE_WINDOW_HU)

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows_hu", tuple((float(low), float(high)) for low, high in self.windows_hu))
        _check(16 <= self.fov_mm <= 200, "--fov-mm", "in [16, 200] mm", f"{self.fov_mm:g}")
        _check(16 <= self.size_px <= 512, "--img-size", "in [16, 512] px", self.size_px)
        _check(
            len(self.windows_hu) > 0 and all(low < high for low, high in self.windows_hu),
            "windows_hu",
            "one or more (low, high) pairs in HU",
            self.windows_hu,
        )

    @property
    def pixel_mm(self) -> float:
        """Side of one output pixel in millimetres."""
        return self.fov_mm / self.size_px


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the two encoders are made of.

    Attributes:
        backbone: Name of a timm model.
        emb: Width D of the shared embedding.
        outline_width: Channels of the decoder that draws outlines.
        text_width: Width of the text encoder's tokens.
        text_layers: Transformer layers of the text encoder.
        views: Rotations and flips averaged when a collection is embedded: 1 or 8.
        crop: The crop that the image encoder was made for.
    """

    backbone: str = "resnet10t"
    emb: int = 128
    outline_width: int = 32
    text_width: int = 64
    text_layers: int = 2
    views: int = 8
    crop: CropConfig = field(default_factory=CropConfig)

    def __post_init__(self) -> None:
        _check(bool(self.backbone), "--backbone", "the name of a timm model", "nothing")
        _check(8 <= self.emb <= 4096, "--emb", "in [8, 4096]", self.emb)
        _check(1 <= self.outline_width <= 1024, "outline_width", "in [1, 1024]", self.outline_width)
        _check(
            self.text_width % 4 == 0 and 16 <= self.text_width <= 1024,
            "text_width",
            "a multiple of 4 in [16, 1024]",
            self.text_width,
        )
        _check(1 <= self.text_layers <= 12, "text_layers", "in [1, 12]", self.text_layers)
        _check(self.views in (1, 8), "--views", "1 or 8", self.views)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the encoders are trained.

    Attributes:
        epochs: Passes over the training nodules.
        bs: Nodules in an optimiser step.
        accumulate: Parts in which a step's nodules go through the encoders; more parts need less memory.
        lr: Peak learning rate of AdamW.
        weight_decay: AdamW's weight decay, for matrices only.
        warmup_epochs: Epochs of linear warm-up, at most half of `epochs`; cosine decay follows.
        cooldown_epochs: The last of `epochs`, at most a tenth of them: without stretching, from a sixth of the peak
            learning rate down, so that sizes settle where they are in nature.
        clip_norm: Largest norm of the gradient.
        prompts: Sentences about size sampled for each step.
        rating_prompts: Sentences about ratings sampled for each step, where the table has ratings; 0 = none.
        rating_weight: Weight of the loss of those.
        outline_weight: Weight of the loss of the drawn outlines; 0 = learn from diameters alone.
        ema_decay: Decay per step of the averaged weights that are validated and saved; 0 = none.
        patience: Epochs without a better validation mean AP after which training stops; None = never.
        amp: Mixed precision on an accelerator; a CPU always computes in float32.
        seed: Seed of everything random.
        max_rotation_deg: Largest random rotation.
        max_zoom: Largest random zoom factor (and its inverse); the diameter is scaled with it.
        max_stretch: Largest random stretch along one direction, and its inverse across it; diameters follow the
            outlines.
        max_shift_mm: Largest random shift of the centre along each axis.
        noise_hu: Largest standard deviation of added noise.
    """

    epochs: int = 44
    bs: int = 32
    accumulate: int = 1
    lr: float = 6e-3
    weight_decay: float = 0.1
    warmup_epochs: float = 2.0
    cooldown_epochs: int = 4
    clip_norm: float = 1.0
    prompts: int = 96
    rating_prompts: int = 48
    rating_weight: float = 0.5
    outline_weight: float = 1.2
    ema_decay: float = 0.98
    patience: int | None = None
    amp: Amp = "auto"
    seed: int = 0
    max_rotation_deg: float = 180.0
    max_zoom: float = 1.25
    max_stretch: float = 1.22
    max_shift_mm: float = 2.0
    noise_hu: float = 30.0

    def __post_init__(self) -> None:
        _check(self.epochs >= 1, "--epochs", "at least 1", self.epochs)
        _check(self.bs >= 2, "--bs", "at least 2", self.bs)
        _check(1 <= self.accumulate <= self.bs, "--accumulate", "between 1 and --bs", self.accumulate)
        _check(math.isfinite(self.lr) and self.lr > 0, "--lr", "a positive number", self.lr)
        _check(0 <= self.weight_decay < 1, "--weight-decay", "in [0, 1)", self.weight_decay)
        _check(self.warmup_epochs >= 0, "--warmup-epochs", "0 or more", self.warmup_epochs)
        _check(self.cooldown_epochs >= 0, "--cooldown-epochs", "0 or more", self.cooldown_epochs)
        _check(self.clip_norm > 0, "clip_norm", "positive", self.clip_norm)
        _check(self.prompts >= 8, "--prompts", "at least 8", self.prompts)
        _check(self.rating_prompts >= 0, "--rating-prompts", "0 or more", self.rating_prompts)
        _check(0 <= self.rating_weight < math.inf, "--rating-weight", "0 or more", self.rating_weight)
        _check(0 <= self.outline_weight < math.inf, "--outline-weight", "0 or more", self.outline_weight)
        _check(0 <= self.ema_decay < 1, "--ema-decay", "in [0, 1)", self.ema_decay)
        _check(self.patience is None or self.patience >= 1, "--patience", "at least 1", self.patience)
        _check(self.amp in typing.get_args(Amp), "--amp", " or ".join(typing.get_args(Amp)), self.amp)
        _check(1 <= self.max_zoom <= 1.5, "--max-zoom", "in [1, 1.5]", self.max_zoom)
        _check(1 <= self.max_stretch <= 1.5, "--max-stretch", "in [1, 1.5]", self.max_stretch)
        _check(0 <= self.max_shift_mm <= 8, "--max-shift-mm", "in [0, 8]", self.max_shift_mm)
        _check(0 <= self.noise_hu <= 200, "noise_hu", "in [0, 200]", self.noise_hu)

    @property
    def stretched_epochs(self) -> int:
        """Epochs before those in which sizes settle."""
        return self.epochs - min(self.cooldown_epochs, self.epochs // 10)


Settings = TypeVar("Settings")


def to_mapping(settings: object) -> dict[str, Any]:
    """Turn settings into plain dictionaries, lists, numbers and strings, ready for JSON."""
    assert dataclasses.is_dataclass(settings) and not isinstance(settings, type)
    return dataclasses.asdict(settings)


def from_mapping(cls: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Make settings from what `to_mapping` gave.

    Args:
        cls: One of the dataclasses of this module.
        values: Values by field name; fields left out keep their default.
        where: What the values came from, for the message.

    Raises:
        ConfigError: A key is unknown, or a value is outside its range or of the wrong type.
    """
    assert dataclasses.is_dataclass(cls)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected settings by name, found {type(values).__name__}")
    types = typing.get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    made: dict[str, Any] = {}
    for name, value in values.items():
        nested = types[name]
        if dataclasses.is_dataclass(nested):
            made[name] = from_mapping(typing.cast(type[Any], nested), value, where)
        else:
            _check_type(nested, name, value, where)
            made[name] = value
    try:
        return cls(**made)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_type(kind: Any, name: str, value: Any, where: str) -> None:
    """Refuse a number that is none, or not finite, and a text that is none."""
    accepted = typing.get_args(kind) or (kind,)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = (
        (int in accepted and is_number and isinstance(value, int))
        or (float in accepted and is_number and math.isfinite(value))
        or (type(None) in accepted and value is None)
        or (str in accepted and isinstance(value, str))
    )
    if not fits and {int, float, str}.intersection(accepted):
        raise ConfigError(f"{where}: setting {name!r} is {value!r}, not {' or '.join(t.__name__ for t in accepted)}")
