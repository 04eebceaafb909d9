"""What a configuration is made of: fields with help text, range and command-line option, checked when it is made."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from noduleclip.errors import ConfigError

_METADATA = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Help text and allowed values of a configuration field, and its option of `train` if it has one.

    The command line, the TOML keys, the checks and the reference page are all made from it.

    Attributes:
        help: What the setting does, one or more sentences.
        panel: Heading of the command's help that lists the option; empty = there is no option.
        option: Name of the option, such as "--img-size"; the field's name by default.
        minimum: Smallest allowed number.
        maximum: Largest allowed number.
        above: Number that must be exceeded.
        below: Number that must not be reached.
        choices: All allowed values.
        unit: Unit of the numbers.
    """

    help: str
    panel: str = ""
    option: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[object, ...] = ()
    unit: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether there are values of the right type that are not allowed."""
        return bool(self.choices) or self.minimum is not None or self.above is not None

    def allows(self, value: Any) -> bool:
        """Return whether a value is allowed."""
        if self.choices:
            return value in self.choices
        return (
            not (isinstance(value, float) and not math.isfinite(value))
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    @property
    def allowed(self) -> str:
        """The allowed values in words, such as "in [16, 200] mm"."""
        if self.choices:
            *others, last = map(str, self.choices)
            return f"{', '.join(others)} or {last}" if others else last
        if self.above is not None:
            return f"above {self.above:g}"
        if self.maximum is not None:
            return f"in [{self.minimum:g}, {self.maximum:g}] {self.unit}".rstrip()
        return f"at least {self.minimum:g}" if self.below is None else f"in [{self.minimum:g}, {self.below:g})"


def setting_of(one: "dataclasses.Field[Any]") -> Setting | None:
    """Return the definition of a configuration field; None if it holds another configuration."""
    setting: Setting | None = one.metadata.get(_METADATA)
    if setting is None or setting.option:
        return setting
    option = f"--{one.name.replace('_', '-')}" if setting.panel else one.name
    return dataclasses.replace(setting, option=option)


def setting_field(default: Any, setting: Setting) -> Any:
    """Return a configuration field with its definition."""
    return field(default=default, metadata={_METADATA: setting})


def require(ok: bool, option: str, allowed: str, value: object) -> None:
    """Refuse a value that is not allowed.

    Raises:
        ConfigError: Names the option, the values allowed, and the one found.
    """
    if not ok:
        raise ConfigError(f"{option} must be {allowed}, got {value}")


class Checked:
    """Base of configurations: every number is checked against its `Setting`."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            setting, value = setting_of(one), getattr(self, one.name)
            if setting is None or not setting.is_limited or (value is None and one.default is None):
                continue
            shown = f"{value:g}" if isinstance(value, float) else value
            require(setting.allows(value), setting.option, setting.allowed, shown)


Settings = TypeVar("Settings")


def to_mapping(settings: object) -> dict[str, Any]:
    """Return a configuration as dictionaries, lists, numbers and strings, ready for JSON."""
    assert dataclasses.is_dataclass(settings) and not isinstance(settings, type)
    return dataclasses.asdict(settings)


def to_options(config: object) -> dict[str, Any]:
    """Return the values of a configuration's options by setting name: "img_size" for --img-size."""
    values: dict[str, Any] = {}
    assert dataclasses.is_dataclass(config)
    for one in fields(config):
        setting, value = setting_of(one), getattr(config, one.name)
        if setting is None:
            values |= to_options(value)
        elif setting.panel:
            values[setting.option.removeprefix("--").replace("-", "_")] = value
    return values


def from_mapping(cls: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Return a configuration from a mapping that `to_mapping` made.

    Args:
        cls: A dataclass, such as those of `config`.
        values: Values by field name; missing fields keep their default.
        where: Source of the values, for messages.

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
    """Check the type of a value; numbers must be finite."""
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
