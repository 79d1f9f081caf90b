"""Restoring and detecting within anybody's code: torch's settings do not matter and stay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch

import sff_napari as sff
from sff_napari.simulation import neuropil

STACK = neuropil((3, 256, 256), seed=4)
FOLD = sff.Fold([(0, 120), (255, 140)], 6)
MADE = sff.simulate_fold(STACK[1], FOLD, hidden_half_width=22, decay=0.05)


def run() -> tuple[np.ndarray, int]:
    result = sff.restore(STACK[0], MADE.damaged, STACK[2], [FOLD], device="cpu")
    return result.restored, len(sff.detect_folds(MADE.damaged, device="cpu"))


@pytest.fixture(scope="module")
def expected() -> tuple[np.ndarray, int]:
    return run()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_grad_mode(
    mode: Callable[[], AbstractContextManager[None]], expected: tuple[np.ndarray, int]
) -> None:
    with mode():
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        restored, count = run()
        assert torch.is_grad_enabled() == grad
        assert torch.is_inference_mode_enabled() == inference
    assert np.array_equal(restored, expected[0])
    assert count == expected[1] == 1


def test_default_dtype_threads_and_random_state_stay(expected: tuple[np.ndarray, int]) -> None:
    before, threads, state = torch.get_default_dtype(), torch.get_num_threads(), None
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        restored, count = run()
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    finally:
        torch.set_default_dtype(before)
        torch.set_num_threads(threads)
    assert np.abs(restored.astype(int) - expected[0]).max() <= 2
    assert count == 1


def test_settings_come_back_after_an_error() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(sff.SffError):
        sff.restore(STACK[0], MADE.damaged, STACK[2], [], device="cpu")
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
