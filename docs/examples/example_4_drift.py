"""
How a stack drifts
==================

Clean slices against their neighbours: how far each lies from where it should.
"""

# %%
# Eight slices of synthetic tissue, each moved by a random whole number of pixels.
import matplotlib.pyplot as plt
import numpy as np

import sff_napari as sff
from sff_napari.simulation import neuropil

rng = np.random.default_rng(0)
tissue = neuropil((8, 448, 448), seed=6)
moves = rng.integers(-3, 4, (8, 2))
stack = [
    np.roll(image, move, (0, 1))[32:-32, 32:-32] for image, move in zip(tissue, moves, strict=True)
]

# %%
# ``offset_variance`` is that of the whole slice against the middle of its neighbours.
aligned = sff.measure_drift([image[32:-32, 32:-32] for image in tissue])
moved = sff.measure_drift(stack)
spread = {
    "as made": float(np.sqrt(aligned.offset_variance)),
    "moved": float(np.sqrt(moved.offset_variance)),
}
print({name: f"{value:.1f} px" for name, value in spread.items()})

# %%
# The measurement is plain data: keep it, and give it to :func:`sff_napari.restore`.
assert sff.StackDrift.from_json(moved.to_json()) == moved
figure, axis = plt.subplots(figsize=(5, 2.4), layout="constrained")
axis.barh(list(spread), list(spread.values()))
axis.set_xlabel("standard deviation of a slice's offset, px")
plt.show()
