"""
Enlarge a slice
===============

A slice that exists only at an eighth of the resolution takes its place among its neighbours.
"""

# %%
# The middle slice is reduced by area, as an overview would show it.
import matplotlib.pyplot as plt
import numpy as np

import sff_napari as sff
from sff_napari.evaluation import psnr
from sff_napari.simulation import neuropil

previous, clean, following = neuropil((3, 384, 384), seed=7)
low = clean.reshape(48, 8, 48, 8).mean((1, 3)).round().astype(np.uint8)

# %%
# Where it lies is found by the neighbours; what it shows stays exact.
made = {
    name: sff.enlarge(low, previous, following, factor=8, method=name)
    for name in ("bicubic", "aligned", "default")
}
for name, result in made.items():
    print(f"{name}: {psnr(result.restored, clean):.1f} dB")

# %%
# ``synthesised`` says how much of the fine structure was inferred, not seen.
panels = {"low": low, **{name: result.restored for name, result in made.items()}}
panels |= {"truth": clean, "inferred": made["default"].synthesised}
figure, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
for axis, (name, image) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(image, cmap="viridis" if name == "inferred" else "gray")
    axis.set_title(name)
    axis.set_axis_off()
plt.show()
