"""A signal that Python handles finds its stack after an OpenVINO engine came and went."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from repository import ROOT

from dope_model.runtime.signal_stack import SignalStack, kept_signal_stack, signal_stack

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of Linux")


def test_the_stack_is_put_back():
    memory = ctypes.create_string_buffer(1 << 16)
    other = SignalStack(ctypes.addressof(memory), 0, len(memory))
    before = signal_stack()
    with kept_signal_stack():
        ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None)
        assert signal_stack().pointer == other.pointer
    assert signal_stack().pointer == before.pointer
    assert signal_stack().flags == before.flags


PROGRAM = """
import gc, os, signal, threading
import numpy as np
from random_networks import small_checkpoint
from dope_model.runtime import load_engine

checkpoint = small_checkpoint()
engines = [load_engine("openvino", checkpoint, checkpoint.mode, "cpu")]
engines[0](np.zeros((96, 128, 3), np.uint8))
thread = threading.Thread(target=lambda: (engines.clear(), gc.collect()))
thread.start()
thread.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


@pytest.mark.long
def test_a_signal_is_handled_after_another_thread_dropped_the_engine(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOPE_CACHE_DIR", str(tmp_path))
    helpers = str(ROOT / "test" / "helpers")
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {helpers!r})\n{PROGRAM}"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.stdout.splitlines()[-1:] == ["handled"], result.stderr
