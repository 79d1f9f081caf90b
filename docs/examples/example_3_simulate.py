"""
Simulate folds
==============

The paper's straight fold, with the exact way back, and folds as real ones look.
"""

# %%
# A straight fold: a dark line 12 px wide, tissue hidden to 30 px on both sides, displacement that
# falls by 0.04 px a pixel.
import matplotlib.pyplot as plt
import numpy as np

import sff_napari as sff
from sff_napari.simulation import apply_flow, neuropil, simulate_realistic

clean = neuropil((1, 512, 512), seed=4)[0]
line = sff.Fold([(0, 200), (511, 290)], half_width=6)
straight = sff.simulate_fold(clean, line, hidden_half_width=30, decay=0.04)

# %%
# ``flow`` is the truth: it leads back to the clean slice wherever that has a source.
back = apply_flow(straight.damaged, straight.flow)
seen = ~straight.corrupted
error = np.abs(back[seen] - clean[seen])
print(f"median error of unfolding by the truth: {np.median(error):.1f} grey values")

# %%
# Realistic folds are bent, vary in width, differ on their sides and blur contrast.
realistic = simulate_realistic(clean, np.random.default_rng(1), count=2)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
images = {"clean": clean, "straight": straight.damaged, "realistic": realistic.damaged}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image, cmap="gray")
    axis.set_title(name)
    axis.set_axis_off()
plt.show()
