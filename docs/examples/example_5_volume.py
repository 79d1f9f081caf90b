"""
Restore a volume, check it, take a fold back
============================================

What ``sff-napari detect``, ``restore``, ``verify`` and ``revert`` do, from Python.
"""

# %%
# A small volume on disk with two folded slices.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from sff_napari.simulation import neuropil, simulate_realistic
from sff_napari.stacks import open_stack, write_stack
from sff_napari.volumes.find.detect_volume import detect_volume
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.restore_volume import restore_volume
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.verify.verify_volume import verify_volume

folder = Path(tempfile.mkdtemp())
volume = neuropil((6, 384, 384), seed=3)
for z in (1, 4):
    volume[z] = simulate_realistic(volume[z], np.random.default_rng(z)).damaged
raw = write_stack(folder / "raw.zarr", volume, voxel_size=(40, 4, 4))

# %%
# Find the folds of all slices, and restore those that have some.
out = folder / "out.zarr"
with open_stack(raw) as stack:
    found = detect_volume(stack)
    summary = restore_volume(VolumeRequest(raw, stack, found.folds, out))
print("folds on slices", sorted(z for z, folds in found.folds.items() if folds))
print("complete:", summary.complete)

# %%
# Every chunk that was changed is in the record.
verdict = verify_volume(out)
print(verdict.chunks, "changed chunks checked,", len(verdict.wrong), "wrong")
restored = open_stack(out)[4]

# %%
# A fold is taken back: its slice has its original bytes again.
revert_folds(out, ["z4-0"])
taken_back = open_stack(out)[4]
print("as it was:", bool((taken_back == volume[4]).all()))

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
images = {"raw": volume[4], "restored": restored, "taken back": taken_back}
for axis, (name, image) in zip(axes, images.items(), strict=True):
    axis.imshow(image, cmap="gray")
    axis.set_title(name)
    axis.set_axis_off()
plt.show()
