"""GDCM's process: results and errors come back, and its end costs one slice."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from noduleclip.io.dicom.gdcm_process import decode_apart


def test_the_end_of_the_process_costs_one_call() -> None:
    np.testing.assert_array_equal(decode_apart(np.arange, 3), [0, 1, 2])
    with pytest.raises(ValueError, match="its decoder ended the process"):
        decode_apart(os._exit, 3)
    np.testing.assert_array_equal(decode_apart(np.arange, 4), [0, 1, 2, 3])


def test_what_a_decoder_raises_comes_back() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        decode_apart(int, "x")
    np.testing.assert_array_equal(decode_apart(np.arange, 3), [0, 1, 2])


@pytest.mark.parametrize("ending", ["", "os._exit(0)"])
def test_the_process_ends_with_the_one_that_started_it(ending: str) -> None:
    """It holds this test's pipe open for as long as it lives."""
    code = f"""
import os
from noduleclip.io.dicom.gdcm_process import decode_apart
if __name__ == "__main__":
    print(decode_apart(os.getpid), flush=True)
    {ending}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) > 0
    assert done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups of this kind")
def test_ctrl_c_ends_both_processes_quietly() -> None:
    code = """
import time
from noduleclip.io.dicom.gdcm_process import decode_apart
if __name__ == "__main__":
    decode_apart(time.sleep, 0)
    try:
        print("ready", flush=True)
        decode_apart(time.sleep, 60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
