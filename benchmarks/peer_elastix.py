"""elastix on one folded slice; run by peers.py in an environment of its own.

    python peer_elastix.py CASE.npz FLOW.npy

A cubic B-spline with a grid of 64 px moves the slice onto the mean of its neighbours; the dark
line does not count.  Writes the sampling offset (2, Y, X), (dy, dx) in px.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import itk
import numpy as np

SPACING = 64
RESOLUTIONS = 4
ITERATIONS = 500


def unfolded(case: dict[str, np.ndarray]) -> np.ndarray:
    """Return the sampling offset (2, Y, X)."""
    fixed = (case["previous"].astype(np.float32) + case["following"]) / 2
    moving = case["damaged"].astype(np.float32)
    settings = itk.ParameterObject.New()
    settings.AddParameterMap(
        settings.GetDefaultParameterMap("bspline", RESOLUTIONS, float(SPACING))
    )
    settings.SetParameter(0, "MaximumNumberOfIterations", str(ITERATIONS))
    settings.SetParameter(0, "Metric", "AdvancedNormalizedCorrelation")
    settings.SetParameter(0, "Registration", "MultiResolutionRegistration")
    settings.SetParameter(0, "ErodeMask", "false")
    seen = itk.image_from_array((~case["dark"].astype(bool)).astype(np.uint8))
    _, transform = itk.elastix_registration_method(
        itk.image_from_array(fixed),
        itk.image_from_array(moving),
        parameter_object=settings,
        moving_mask=seen,
        number_of_threads=1,
        log_to_console=False,
    )
    field = itk.array_from_image(
        itk.transformix_deformation_field(itk.image_from_array(moving), transform)
    )
    return np.stack([field[..., 1], field[..., 0]]).astype(np.float32)


def main() -> None:
    """Unfold the case, and say how long it took."""
    with np.load(sys.argv[1]) as file:
        case = dict(file)
    begin = time.perf_counter()
    flow = unfolded(case)
    print(time.perf_counter() - begin)
    np.save(Path(sys.argv[2]), flow)


if __name__ == "__main__":
    main()
