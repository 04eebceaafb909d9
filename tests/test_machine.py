"""Cores and drivers, without torch."""

import os
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from noduleclip import machine


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux ties a process to cores")
def test_only_the_cores_of_this_process_count() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.count_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert machine.count_cores() == len(before)


@pytest.mark.skipif(sys.platform != "linux", reason="names a library of Linux")
def test_a_driver_that_loads_may_mean_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_DRIVERS", ("libnone.so.1", "libc.so.6"))
    assert machine.may_have_accelerator()
    monkeypatch.setattr(machine, "_DRIVERS", ("libnone.so.1",))
    assert not machine.may_have_accelerator()


EXTRAS = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]


@pytest.mark.parametrize("extra", ["excel", "lance", "pandas", "ray", "seg", "volumes", "web"])
def test_an_extra_brings_no_torch_where_it_is_left_out(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_missing_library", lambda: None)
    assert machine.install_command(extra) == f'pip install "noduleclip[{extra}]"'
    monkeypatch.setattr(machine, "find_missing_library", lambda: "torch")
    assert sorted(shlex.split(machine.install_command(extra))[2:]) == sorted(EXTRAS[extra])
    assert machine.install_command(extra, upgrade=True).startswith('pip install --upgrade "')


def test_extras_are_suggested_by_one_function() -> None:
    found = [path for path in Path(machine.__file__).parent.rglob("*.py") if "noduleclip[" in path.read_text("utf-8")]
    assert sorted(path.name for path in found) == ["machine.py", "serve_command.py"], "and in the help of serve"
