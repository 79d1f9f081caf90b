"""
Find the folds of a slice
=========================

Two folds on synthetic tissue, found without being told where they are.
"""

# %%
# Make tissue, and fold it twice as real folds do.
import matplotlib.pyplot as plt
import numpy as np

import sff_napari as sff
from sff_napari.simulation import neuropil, simulate_realistic

clean = neuropil((1, 512, 512), seed=4)[0]
simulated = simulate_realistic(clean, np.random.default_rng(5), count=2)

# %%
# Each fold that is found has a centre line, a half width and a score.
folds = sff.detect_folds(simulated.damaged)
for fold in folds:
    print(f"score {fold.score:.2f}, {2 * fold.half_width:.0f} px wide, {fold.length:.0f} px long")

# %%
# The lines, drawn on the slice.
figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
for axis in axes:
    axis.imshow(simulated.damaged, cmap="gray")
    axis.set_axis_off()
for fold in folds:
    y, x = np.transpose(fold.vertices)
    axes[1].plot(x, y, "-", linewidth=2)
axes[0].set_title("folded")
axes[1].set_title("found")
plt.show()
