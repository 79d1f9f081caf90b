"""Choose where to compute, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache

import torch

from sff_napari.errors import InputError


def available_devices() -> list[str]:
    """Return the names `choose_device` accepts here, best first, e.g. ``["cuda", "cpu"]``."""
    names = []
    if torch.cuda.is_available():
        names += (
            ["cuda"]
            if torch.cuda.device_count() == 1
            else [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        )
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device for a name.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` takes the best there is; else ``"cpu"``, ``"cuda"``,
        ``"cuda:1"`` or ``"mps"``.

    Raises
    ------
    InputError
        If the name is unknown or this machine has no such device.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device(available_devices()[0])
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"There is no device called {device!r}: use 'auto', 'cpu', 'cuda' or 'mps'."
        ) from error
    present = {torch.device(name).type for name in available_devices()}
    index_ok = chosen.type != "cuda" or (chosen.index or 0) < max(torch.cuda.device_count(), 1)
    if chosen.type not in present or not index_ok:
        raise InputError(
            f"This machine has no device {str(device)!r}: "
            f"use one of {', '.join(available_devices())}."
        )
    return chosen


def describe_device(device: torch.device) -> str:
    """Return a name a person recognises, e.g. ``"cuda (NVIDIA A100)"`` or ``"cpu (2 threads)"``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({_allowed.get() or torch.get_num_threads()} threads)"
    return str(device)


@contextmanager
def steady_torch() -> Iterator[None]:
    """Compute the same whatever the caller's torch settings are, and leave them as they are.

    Gradients are off, new tensors are float32, and many small steps run in one
    thread: waiting for others costs more than they save, most of all on a busy
    machine.  `all_threads` gives large steps back what the caller allows.
    """
    kind, count = torch.get_default_dtype(), torch.get_num_threads()
    if kind != torch.float32:
        torch.set_default_dtype(torch.float32)
    token = _allowed.set(count)
    torch.set_num_threads(1)
    try:
        # Networks draw their first weights at random before their own are loaded.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(count)
        _allowed.reset(token)
        if kind != torch.float32:
            torch.set_default_dtype(kind)


@contextmanager
def all_threads() -> Iterator[None]:
    """Let a large step within `steady_torch` use as many threads as its caller did."""
    before = torch.get_num_threads()
    count = _allowed.get() or before
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_allowed: ContextVar[int | None] = ContextVar("allowed threads", default=None)


@cache
def _cpu_is_fast_at_bfloat16() -> bool:
    """Tell whether convolutions in bfloat16 beat float32 here (AVX512-BF16, AMX)."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check()) if callable(check) else False


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which networks run in bfloat16 where the device is fast at it."""
    fast = (
        _cpu_is_fast_at_bfloat16()
        if device.type == "cpu"
        else device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if not fast:
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
