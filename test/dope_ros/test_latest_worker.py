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


def test_stopping_waits_for_the_current_item_and_drops_the_waiting_one():
    work = Recorder()
    worker = LatestWorker(work, "worker")
    worker.offer(1)
    assert work.begun.acquire(timeout=20)
    worker.offer(2)
    dropped = []
    stopping = threading.Thread(target=lambda: dropped.append(worker.stop()))
    stopping.start()
    stopping.join(0.1)
    assert stopping.is_alive() and work.done == []
    work.gate.release()
    stopping.join(20)
    assert dropped == [True]
    assert work.done == [1]


def test_stopping_an_idle_worker_ends_its_thread():
    before = threading.active_count()
    worker = LatestWorker(lambda item: None, "worker")
    assert threading.active_count() == before + 1
    assert worker.stop() is False
    assert threading.active_count() == before
