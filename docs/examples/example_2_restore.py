"""
Restore a slice
===============

A folded slice is restored from itself and its two neighbours.
"""

# %%
# Three slices of synthetic tissue; the middle one is folded.
import matplotlib.pyplot as plt
import numpy as np

import sff_napari as sff
from sff_napari.evaluation import psnr
from sff_napari.simulation import neuropil, simulate_realistic

previous, clean, following = neuropil((3, 448, 448), seed=4)
simulated = simulate_realistic(clean, np.random.default_rng(65))

# %%
# Find the fold, undo it, and fill what it swallowed.
folds = sff.detect_folds(simulated.damaged)
result = sff.restore(previous, simulated.damaged, following, folds)

# %%
# How close to the clean slice, over all pixels:
for name, image in {"folded": simulated.damaged, "restored": result.restored}.items():
    print(f"{name}: {psnr(image, clean):.1f} dB")

# %%
# ``synthesised`` says which pixels were made up, ``flow`` how far tissue was moved,
# ``confidence`` how sure each pixel is.
panels = {
    "folded": simulated.damaged,
    "restored": result.restored,
    "clean": clean,
    "synthesised": result.synthesised,
    "moved by, px": np.hypot(*result.flow),
    "confidence": result.confidence.astype(np.float32),
}
figure, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
for axis, (name, image) in zip(axes.flat, panels.items(), strict=True):
    shown = axis.imshow(image, cmap="gray" if image.dtype == np.uint8 else "viridis")
    axis.set_title(name)
    axis.set_axis_off()
    if image.dtype != np.uint8:
        figure.colorbar(shown, ax=axis, shrink=0.7)
plt.show()
