"""Work on the newest item only."""

import threading

from dope_ros.node.latest_worker import LatestWorker


class Recorder:
    """Remembers what it worked on; waits at its gate."""

    def __init__(self):
        self.done: list[int] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def __call__(self, item: int) -> None:
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        self.done.append(item)


def test_only_the_newest_of_those_that_wait_is_worked_on():
    work = Recorder()
    worker = LatestWorker(work, "worker")
    assert worker.offer(1) is False
    assert work.begun.acquire(timeout=20)
    assert [worker.offer(n) for n in (2, 3, 4)] == [False, True, True]
    work.gate.release(2)
    assert work.begun.acquire(timeout=20)
    assert worker.stop() is False
    assert work.done == [1, 4]


def test_stopping_does_not_wait_for_the_current_item_and_drops_the_waiting_one():
    work = Recorder()
    worker = LatestWorker(work, "worker")
    worker.offer(1)
    assert work.begun.acquire(timeout=20)
    worker.offer(2)
    assert worker.stop() is True
    assert work.done == []
    assert worker.offer(3) is True  # dropped itself
    work.gate.release(3)
    assert ended("worker")
    assert work.done == [1]


def test_stopping_an_idle_worker_ends_its_thread():
    worker = LatestWorker(lambda item: None, "idle worker")
    assert worker.stop() is False
    assert ended("idle worker")


def ended(name: str) -> bool:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(20)
    return all(thread.name != name for thread in threading.enumerate())
