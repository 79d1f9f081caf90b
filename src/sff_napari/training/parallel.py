"""Run in one process or several: the little that training needs to know about torchrun."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from sff_napari.devices import choose_device
from sff_napari.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """One process among those of a run.

    Parameters
    ----------
    rank, count : int
        Number of this process, and how many there are.
    device : torch.device
        Where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share_of(self, batch: int) -> int:
        """Return how many samples of a batch are this process's.

        Raises
        ------
        InputError
            If the batch cannot be split evenly.
        """
        if batch % self.count:
            raise InputError(
                f"A batch of {batch} cannot be split evenly over {self.count} processes: "
                "choose another --batch."
            )
        return batch // self.count

    def agree(self, *values: float) -> tuple[float, ...]:
        """Return the first process's values, so that all decide alike."""
        if self.count == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return tuple(shared.tolist())

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        if self.count == 1:
            return flag
        shared = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return bool(shared.item())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """Join the other processes that torchrun started, if it did.

    Parameters
    ----------
    device : str
        As in `choose_device`; with several GPUs and ``"auto"`` or ``"cuda"``
        each process takes its own.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(0, 1, choose_device(device))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{local}"
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()
