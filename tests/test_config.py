"""Settings that check themselves, and what they were saved as."""

from dataclasses import fields

import pytest

from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.errors import ConfigError
from noduleclip.setting import from_mapping, setting_of, to_mapping


def test_what_was_saved_is_read_back() -> None:
    crop = CropConfig(fov_mm=40, size_px=96, windows_hu=((-1000, 0),))
    for settings in (TrainConfig(patience=3, seed=7), ModelConfig(crop=crop, views=1), TrainConfig(), crop):
        assert from_mapping(type(settings), to_mapping(settings), "x") == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 3.5}, r"f: setting 'epochs' is 3\.5, not int"),
        ({"bs": True}, "f: setting 'bs' is True, not int"),
        ({"seed": "x"}, "f: setting 'seed' is 'x', not int"),
        ({"max_rotation_deg": float("nan")}, "f: setting 'max_rotation_deg' is nan, not float"),
        ({"patience": 1.5}, r"f: setting 'patience' is 1\.5, not int or NoneType"),
        ({"colour": 1}, "f: unknown setting 'colour'"),
        ({"amp": "fp8"}, "--amp must be"),
        (5, "f: expected settings by name, found int"),
    ],
)
def test_what_is_no_setting_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, values, "f")


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (CropConfig, {"size_px": 15}, r"--img-size must be in \[16, 512\] px, got 15"),
        (CropConfig, {"fov_mm": 200.5}, r"--fov-mm must be in \[16, 200\] mm, got 200\.5"),
        (CropConfig, {"windows_hu": ((0, 0),)}, "windows_hu must be one or more"),
        (ModelConfig, {"views": 3}, "--views must be 1, 2, 4 or 8, got 3"),
        (ModelConfig, {"text_width": 18}, "text_width must be a multiple of 4"),
        (ModelConfig, {"backbone": ""}, "--backbone must be the name of a timm model"),
        (TrainConfig, {"epochs": 0}, "--epochs must be at least 1, got 0"),
        (TrainConfig, {"lr": 0.0}, "--lr must be above 0, got 0"),
        (TrainConfig, {"lr": float("inf")}, "--lr must be above 0, got inf"),
        (TrainConfig, {"weight_decay": 1.0}, r"--weight-decay must be in \[0, 1\), got 1"),
        (TrainConfig, {"accumulate": 33}, "--accumulate must be between 1 and --bs, got 33"),
        (TrainConfig, {"patience": 0}, "--patience must be at least 1, got 0"),
        (TrainConfig, {"noise_hu": -1.0}, r"noise_hu must be in \[0, 200\]"),
    ],
)
def test_a_value_outside_its_range_is_refused(config: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**values)


def test_the_ends_of_a_range_are_allowed() -> None:
    assert (CropConfig(size_px=16).size_px, CropConfig(size_px=512).size_px) == (16, 512)
    assert TrainConfig(weight_decay=0.0, ema_decay=0.0, max_zoom=1.5, patience=None).patience is None


def test_every_limited_setting_allows_its_default_and_explains_itself() -> None:
    for config in (CropConfig, ModelConfig, TrainConfig):
        for field in fields(config):
            setting = setting_of(field)
            if setting is not None:
                assert setting.help.endswith((".", ")", "1 or 8."))
                assert not setting.is_limited or field.default is None or setting.allows(field.default)


def test_a_nested_setting_is_checked_too() -> None:
    for crop in (5, None, {"size_px": 64.5}):
        with pytest.raises(ConfigError, match=r"^f: "):
            from_mapping(ModelConfig, {"crop": crop}, "f")
