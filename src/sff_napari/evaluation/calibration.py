"""Check whether a method is as right as it says it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

WITHIN = 1.0
"""Error of the flow, px, up to which a pixel is right."""
BINS = 10
"""Steps of confidence that are told apart."""


def _zeros() -> NDArray[np.float64]:
    return np.zeros(BINS)


@dataclass
class Calibration:
    """How often pixels were right, by how sure the method was of them.

    Parameters
    ----------
    count, said, right : ndarray, (BINS,)
        Number of pixels, sum of their confidence, and number of those whose flow
        was right, in each step of confidence.
    """

    count: NDArray[np.float64] = field(default_factory=_zeros)
    said: NDArray[np.float64] = field(default_factory=_zeros)
    right: NDArray[np.float64] = field(default_factory=_zeros)

    def add(
        self,
        confidence: NDArray[np.floating[Any]],
        flow: NDArray[np.floating[Any]],
        truth: NDArray[np.floating[Any]],
    ) -> None:
        """Take in one fold.

        Parameters
        ----------
        confidence : ndarray, (Y, X)
            Chance that the flow is right, in [0, 1].
        flow, truth : ndarray, (2, Y, X)
            (dy, dx) in px, NaN where undefined.  Pixels that neither moves do
            not count: it takes nothing to be right there.
        """
        error = np.hypot(*(flow - truth))
        moved = np.hypot(*flow) + np.hypot(*truth) > 0
        use = np.isfinite(error) & np.isfinite(confidence) & moved
        sure, right = confidence[use].astype(np.float64), error[use] <= WITHIN
        step = np.clip((sure * BINS).astype(int), 0, BINS - 1)
        self.count += np.bincount(step, minlength=BINS)
        self.said += np.bincount(step, sure, minlength=BINS)
        self.right += np.bincount(step, right, minlength=BINS)

    @property
    def error(self) -> float:
        """Mean difference between what was said and what was right, over pixels; NaN if none."""
        total = float(self.count.sum())
        if total == 0:
            return float("nan")
        return float(np.abs(self.said - self.right).sum() / total)

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain JSON types."""
        return {
            "within_px": WITHIN,
            "error": round(self.error, 5) if self.count.any() else None,
            "steps": [
                {"pixels": int(n), "said": round(said / n, 5), "right": round(right / n, 5)}
                for n, said, right in zip(self.count, self.said, self.right, strict=True)
                if n > 0
            ],
        }

    def table(self, method: str) -> str:
        """Return it as text."""
        lines = [
            f"{method}: of the pixels said to be within {WITHIN:g} px of the true flow, "
            f"so many are; mean difference {self.error:.3f}",
            f"{'said':>8}{'are':>8}{'of the pixels':>16}",
        ]
        for n, said, right in zip(self.count, self.said, self.right, strict=True):
            if n > 0:
                share = 100 * n / self.count.sum()
                lines.append(f"{said / n:>8.2f}{right / n:>8.2f}{share:>14.1f} %")
        return "\n".join(lines)
