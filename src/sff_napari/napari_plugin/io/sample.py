"""File > Open Sample: a synthetic stack with simulated folds; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Made = TypeVar("Made")
SHAPE = (10, 384, 384)
FOLDED = (1, 4, 7)
"""napari opens a stack in its middle: there is a fold."""
MARGIN = 32
"""Pixels on each side that are made but not kept."""
NOISE = 6.0
"""Standard deviation of the noise over everything, grey values."""
TRUTH = "sff_napari_truth"
"""Key in an image layer's metadata: clean slices (Y, X) by index, where they are known."""


def folded_stack(
    shape: tuple[int, int, int] = SHAPE, folded: tuple[int, ...] = FOLDED, seed: int = 4
) -> list[tuple[Any, dict[str, Any], str]]:
    """Return a synthetic stack in which some slices carry realistic folds, as layer data.

    Parameters
    ----------
    shape : (Z, Y, X)
        Shape of the stack.
    folded : tuple of int
        Slices that are folded; the last one twice.
    seed : int
        The same seed gives the same stack.

    Returns
    -------
    list of layer data tuples
        One uint8 image of shape (Z, Y, X).
    """
    stack, truth = while_events_go_on(lambda: _make(shape, folded, seed))
    kwargs: dict[str, Any] = {
        "name": "folded stack",
        "contrast_limits": (0, 255),
        "scale": (45.0, 4.6, 4.6),
        "units": ("nm", "nm", "nm"),
        "axis_labels": ("z", "y", "x"),
        "metadata": {TRUTH: truth},
    }
    return [(stack, kwargs, "image")]


def while_events_go_on(make: Callable[[], Made]) -> Made:
    """Return what a function makes, in a thread of its own while the viewer stays alive.

    Mouse and keys wait until it is made; without a viewer it is simply called.
    """
    from qtpy.QtCore import QCoreApplication, QEventLoop, QTimer

    if QCoreApplication.instance() is None:
        return make()
    from napari.utils import progress

    loop = QEventLoop()
    with ThreadPoolExecutor(1) as pool, progress(total=0, desc="Making the sample"):
        future = pool.submit(make)
        watch = QTimer()
        watch.timeout.connect(lambda: loop.quit() if future.done() else None)
        watch.start(20)
        loop.exec(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        watch.stop()
        return future.result()


def _make(
    shape: tuple[int, int, int], folded: tuple[int, ...], seed: int
) -> tuple[NDArray[np.uint8], dict[tuple[int, ...], NDArray[np.uint8]]]:
    """Return the stack (Z, Y, X), and the clean slices (Y, X) of those that are folded."""
    import numpy as np

    from sff_napari.simulation import RealisticRanges, neuropil, simulate_realistic

    # What a fold pulls in from beyond the border must be tissue, not a mirror image: so more
    # is made than is kept.
    whole = neuropil((shape[0], shape[1] + 2 * MARGIN, shape[2] + 2 * MARGIN), seed=seed)
    kept = (slice(MARGIN, MARGIN + shape[1]), slice(MARGIN, MARGIN + shape[2]))
    truth: dict[tuple[int, ...], NDArray[np.uint8]] = {}
    ranges = RealisticRanges(half_width=(4.0, 8.0), gap=(10.0, 30.0), inside_end=0.15)
    for number, z in enumerate(folded):
        truth[(z,)] = whole[z][kept].copy()
        rng = np.random.default_rng(seed + 10 * z)
        count = 2 if number == len(folded) - 1 and len(folded) > 2 else 1
        whole[z] = simulate_realistic(whole[z], rng, count=count, ranges=ranges).damaged
    stack = whole[:, kept[0], kept[1]].copy()
    # A camera's noise lies over all that it sees, folds and what was simulated of them alike.
    noise = np.random.default_rng(seed).normal(0, NOISE, stack.shape)
    for z in folded:
        truth[(z,)] = _noisy(truth[(z,)], noise[z])
    return _noisy(stack, noise), truth


def _noisy(image: NDArray[np.uint8], noise: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return an image with noise added."""
    import numpy as np

    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
