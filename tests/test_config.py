"""Settings that check themselves, and what they were saved as."""

import pytest

from noduleclip.config import CropConfig, ModelConfig, TrainConfig, from_mapping, to_mapping
from noduleclip.errors import ConfigError


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


def test_a_nested_setting_is_checked_too() -> None:
    for crop in (5, None, {"size_px": 64.5}):
        with pytest.raises(ConfigError, match=r"^f: "):
            from_mapping(ModelConfig, {"crop": crop}, "f")
