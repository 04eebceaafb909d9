"""Cores and drivers, without torch."""

import os
import sys

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
