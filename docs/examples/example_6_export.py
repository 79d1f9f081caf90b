"""
Export for alignment tools
==========================

Folds as masks for SOFIMA and FEABAS, so that an alignment leaves them out.
"""

# %%
# A stack with a fold, and the line that was found.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import sff_napari as sff
from sff_napari.simulation import neuropil, simulate_realistic
from sff_napari.stacks import open_stack, stack_identity, write_folds, write_stack
from sff_napari.volumes.exports import FoldMasks, write_feabas, write_sofima
from sff_napari.volumes.exports.source import open_source

volume = neuropil((3, 384, 384), seed=3)
volume[1] = simulate_realistic(volume[1], np.random.default_rng(4)).damaged
folds = {1: sff.detect_folds(volume[1])}

folder = Path(tempfile.mkdtemp())
raw = write_stack(folder / "raw.zarr", volume, voxel_size=(40, 4, 4))
with open_stack(raw) as stack:
    write_folds(folder / "folds.json", folds, stack_identity(stack))

# %%
# As ``sff-napari export raw.zarr --folds folds.json --to feabas --margin 4`` does it.
source = open_source(raw, folder / "folds.json")
masks = FoldMasks(source.folds, source.shape, margin=4)
write_feabas(folder / "for_feabas", source, masks)
write_sofima(folder / "for_sofima", source, masks)
for path in sorted(folder.glob("for_*/*")):
    print(path.relative_to(folder))

# %%
# FEABAS is given one image a slice: 50, its material "wrinkle", in folds.
page = np.asarray(Image.open(next((folder / "for_feabas").glob("*.png"))))
figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
axes[0].imshow(volume[1], cmap="gray")
axes[1].imshow(page)
for axis, name in zip(axes, ("folded", "mask for FEABAS"), strict=True):
    axis.set_title(name)
    axis.set_axis_off()
plt.show()
