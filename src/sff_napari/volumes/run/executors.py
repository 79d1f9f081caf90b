"""Run tasks: in threads, in local processes, or on a dask cluster that is there already."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import psutil
from dask.system import CPU_COUNT

from sff_napari.errors import InputError
from sff_napari.volumes.run.cancellation import stopping
from sff_napari.volumes.run.errors import Stop, sentence
from sff_napari.volumes.run.perform import perform
from sff_napari.volumes.run.task import Done, Task

WINDOW = 3
"""Tasks handed over at a time, for each worker."""
_RETRIES = 3
_BLOCK_BYTES = 3 << 29
"""Memory that restoring one block of the usual size needs at most."""


class Threads:
    """Threads of this process.

    Parameters
    ----------
    size : int, optional
        How many; where not given one for each processor, and no more than the
        memory that is free is enough for.
    """

    def __init__(self, size: int | None = None) -> None:
        enough_for = psutil.virtual_memory().available // _BLOCK_BYTES
        self.size = size or min(CPU_COUNT, max(1, enough_for))

    def run(self, root: str, origin: Mapping[str, Any], tasks: Iterable[Task], done: Done) -> None:
        """Do all tasks; see `Pool`."""
        waiting = iter(tasks)
        running: dict[Future[dict[str, Any]], Task] = {}
        stopping.clear()
        with ThreadPoolExecutor(self.size) as pool:

            def submit(count: int) -> None:
                for task in islice(waiting, count):
                    running[pool.submit(perform, root, origin, task)] = task

            try:
                submit(WINDOW * self.size)
                while running:
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        _report_done(done, running.pop(future), future.result())
                        submit(1)
            except BaseException:
                # What is running ends early, so that the program can.
                stopping.set()
                for future in running:
                    future.cancel()
                raise

    def close(self) -> None:
        """Do nothing: the threads end with each run."""


class Cluster:
    """Worker processes of dask.distributed.

    Parameters
    ----------
    workers : int, optional
        How many to start on this machine.
    scheduler : str, optional
        Address of a cluster that runs already, e.g. ``tcp://10.0.0.1:8786``.

    Raises
    ------
    InputError
        If dask.distributed is not installed or the cluster does not answer.
    """

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise InputError(
                "Workers need dask.distributed: install it with "
                '`pip install "sff-napari[cluster]"`.'
            ) from error
        self._cluster: Any = None
        if scheduler is None:
            # Dask has its workers hand memory back at once; large arrays are then made anew
            # page by page, which takes more than twice as long.
            eager = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
            with dask.config.set({eager: None}), _deaf_to_ctrl_c():
                self._cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    # For nobody but this machine, and on any free port.
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    silence_logs=50,
                )
        try:
            self._client = Client(scheduler or self._cluster, timeout=30)
        except (OSError, ValueError) as error:
            raise InputError(f"No dask scheduler answers at {scheduler}: {error}.") from error
        deadline = time.monotonic() + 60
        while not (found := self._client.scheduler_info(n_workers=-1)["workers"]):
            if time.monotonic() > deadline:
                self.close()
                raise InputError(f"The dask scheduler at {scheduler} has no workers.")
            time.sleep(0.2)
        self.size = sum(one["nthreads"] for one in found.values())

    def run(self, root: str, origin: Mapping[str, Any], tasks: Iterable[Task], done: Done) -> None:
        """Do all tasks; see `Pool`."""
        from distributed import as_completed

        waiting = iter(tasks)
        running: dict[Any, Task] = {}

        def submitted(count: int) -> Iterator[Any]:
            for task in islice(waiting, count):
                future = self._client.submit(
                    perform, root, dict(origin), task, pure=False, retries=_RETRIES
                )
                running[future] = task
                yield future

        # Only so many at a time: neither the scheduler nor the workers collect what waits.
        arriving = as_completed(list(submitted(WINDOW * self.size)))
        try:
            for future in arriving:
                task = running.pop(future)
                error = future.exception()
                value = {"failed": _lost(error)} if error is not None else future.result()
                future.release()
                _report_done(done, task, value)
                for one in submitted(1):
                    arriving.add(one)
        except BaseException:
            self._client.cancel(list(running))
            raise

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(self._client.scheduler.address)

    def processes(self) -> list[int]:
        """Return the process ids of the workers."""
        return list(self._client.run(os.getpid).values())

    def close(self) -> None:
        """End the workers that were started, and leave the cluster."""
        # On a very busy machine workers take longer to end than dask waits.  All work is done
        # then, and they end with this process at the latest.
        with suppress(TimeoutError):
            self._client.close()
        if self._cluster is not None:
            with suppress(TimeoutError):
                self._cluster.close()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that are started in the block leave Ctrl-C to this one, which ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _lost(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        return "The worker died each time it did this, perhaps for lack of memory."
    return sentence(error)


def _report_done(done: Done, task: Task, value: dict[str, Any]) -> None:
    if "stop" in value:
        raise Stop(value["stop"])
    done(task, value)


class Meter:
    """Counts what was done, and how fast.

    Parameters
    ----------
    unit : float
        How much of what is counted makes one of what is shown.
    name : str
        What is shown, e.g. ``"Mpx"``.
    """

    def __init__(self, unit: float = 1e6, name: str = "Mpx") -> None:
        self._unit = unit
        self._name = name
        self._start = time.perf_counter()
        self._total = 0.0
        self._lock = threading.Lock()

    def add(self, amount: float) -> None:
        """Count more."""
        with self._lock:
            self._total += amount

    def __str__(self) -> str:
        seconds = max(time.perf_counter() - self._start, 1e-6)
        return f"{self._total / self._unit / seconds:.1f} {self._name}/s"
