"""One training on several GPUs or machines, in processes that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes, if there are any, until the end; gives this process' device."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield device
        return
    on_gpu = device.type == "cuda"
    if on_gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0; number 0 alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait_for_all() -> None:
    """Go on when all processes are here."""
    if dist.is_initialized():
        dist.barrier()


def mean_over_processes(value: Tensor | float, device: torch.device | None = None) -> Tensor:
    """The mean of a number over all processes.

    A loss that is divided by such a mean of counts has, on average over the processes, the value
    and the gradients of one process with the whole batch.
    """
    value = torch.as_tensor(value, dtype=torch.float32, device=device)
    if dist.is_initialized():
        value = value.clone()
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
