"""Make the picture of the start page: synthetic tissue, clean, folded and restored.

Run as ``python docs/make_before_after.py``; writes ``docs/_static/before-after.png``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import sff_napari as sff
from sff_napari.simulation import neuropil, simulate_realistic

OUT = Path(__file__).parent / "_static" / "before-after.png"
SIDE, GAP, SEED = 400, 8, 36


def main() -> None:
    """Fold a slice, find the fold, restore the slice, and write the three side by side."""
    stack = neuropil((3, 768, 768), seed=2)
    simulated = simulate_realistic(stack[1], np.random.default_rng(SEED))
    folds = sff.detect_folds(simulated.damaged)
    restored = sff.restore(stack[0], simulated.damaged, stack[2], folds).restored
    y, x = np.mean(folds[0].vertices, axis=0)
    top, left = (int(np.clip(at - SIDE / 2, 0, 768 - SIDE)) for at in (y, x))
    parts = [
        image[top : top + SIDE, left : left + SIDE]
        for image in (stack[1], simulated.damaged, restored)
    ]
    gap = np.full((SIDE, GAP), 255, np.uint8)
    picture = np.hstack([parts[0], gap, parts[1], gap, parts[2]])
    Image.fromarray(picture).save(OUT, optimize=True)
    print(f"{len(folds)} fold found; see {OUT}.")


if __name__ == "__main__":
    main()
