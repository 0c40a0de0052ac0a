"""Work in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dope_model.errors import Failure

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    start: Callable[..., None] | None = None,
    arguments: tuple = (),
) -> Iterator[Result]:
    """`work` of every item, in their order, done in `workers` processes.

    Args:
        start: called with `arguments` in each process, first.

    Raises:
        Failure: a process has died. Finished work of the others is kept.
    """
    # Forked processes would inherit OpenCV's and OpenMP's locks without their threads, and OpenGL.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, context, start, arguments) as pool:
            yield from pool.map(work, items)
    except BrokenProcessPool as error:
        raise Failure(
            "one of the processes has died, perhaps for lack of memory; the same command resumes "
            "after the finished part; --workers 1 shows the error"
        ) from error
