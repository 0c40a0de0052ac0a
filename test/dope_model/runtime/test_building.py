"""An engine that is built in the background, with stand-ins for both engines."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("torch")
from random_networks import small_checkpoint  # noqa: E402
from test_engines import StandIn  # noqa: E402

from dope_model.runtime import FirstThatRuns  # noqa: E402
from dope_model.runtime.building import WhileBuilding  # noqa: E402
from dope_model.runtime.engine import EngineError  # noqa: E402

IMAGE = np.zeros((64, 64, 3), np.uint8)


class Slow(StandIn):
    """An engine whose graphs are built when the test says so."""

    def __init__(self, checkpoint, error=None):
        super().__init__(checkpoint, "slow")
        self.go, self.build_error, self.built = threading.Event(), error, []

    def build(self, canvas, cancelled):
        while not self.go.wait(0.01):
            if cancelled.is_set():
                raise EngineError("cancelled")
        if self.build_error:
            raise self.build_error
        self.built.append(canvas)


@pytest.fixture(scope="module")
def checkpoint():
    return small_checkpoint(("body",), backbone="mobilenet_v2")


def finished(engine):
    thread = engine._thread
    if thread is not None:
        thread.join(10)


def test_another_engine_answers_until_it_is_built(checkpoint):
    slow, quick = Slow(checkpoint), StandIn(checkpoint, "quick")
    engine = WhileBuilding(slow, lambda: quick, patience=0.0)
    for _ in range(2):
        engine(IMAGE)
    assert quick.made and not slow.made
    assert engine.description == "quick; building slow"
    slow.go.set()
    finished(engine)
    engine(IMAGE)
    assert engine.description == "slow" and len(slow.made) == len(slow.built) == 1
    # Another canvas is built once, too.
    engine(np.zeros((64, 128, 3), np.uint8))
    finished(engine)
    engine(np.zeros((64, 128, 3), np.uint8))
    assert len(slow.made) == 2 and slow.built == slow.made


def test_what_only_has_to_be_loaded_needs_no_other_engine(checkpoint):
    slow = Slow(checkpoint)
    slow.go.set()
    engine = WhileBuilding(slow, lambda: pytest.fail("not needed"), patience=10.0)
    engine(IMAGE)
    assert engine.description == "slow" and slow.made


def test_a_build_that_fails_leaves_the_other_engine(checkpoint, caplog):
    slow = Slow(checkpoint, EngineError("out of memory"))
    makers = [("tensorrt", lambda: WhileBuilding(slow, lambda: StandIn(checkpoint), 0.0))]
    makers.append(("quick", lambda: StandIn(checkpoint, "quick")))
    engine = FirstThatRuns(makers)
    engine(IMAGE)
    slow.go.set()
    finished(engine._engine)
    engine(IMAGE)
    assert engine.description == "quick" and caplog.text.count("out of memory") == 1


def test_a_build_is_cancelled(checkpoint):
    slow = Slow(checkpoint)
    engine = WhileBuilding(slow, lambda: StandIn(checkpoint), 0.0)
    engine(IMAGE)
    engine.close()
    finished(engine)
    assert not slow.built
    with pytest.raises(EngineError, match="cancelled"):
        engine(IMAGE)
