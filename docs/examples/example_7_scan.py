"""
Undo a scan
===========

A lattice is scanned with jitter and few electrons; jitter and noise are undone from the one image.
"""

# %%
# The simulation tells the truth beside the scan.
import matplotlib.pyplot as plt
import numpy as np

import sff_napari as sff
from sff_napari.scan_distortion import specimen

clean = specimen("lattice", (256, 256), seed=1)
scan = sff.simulate_scan(clean, seed=4, jitter=1.5, counts=60.0)

# %%
# The network that comes with the package, and a Gaussian whose width is found.
results = {
    "Gaussian": sff.restore_scan(scan.distorted, method="gaussian"),
    "network": sff.restore_scan(scan.distorted),
}
for name, result in results.items():
    error = np.sqrt(np.square(result.restored - scan.truth).mean())
    print(f"{name}: off by {error:.3f} (root mean square)")

# %%
# ``displacement`` says how far each row was off, ``confidence`` how sure each pixel is.
panels = {"scan": scan.distorted, **{name: r.restored for name, r in results.items()}}
panels["truth"] = scan.truth
figure, axes = plt.subplots(1, 5, figsize=(12, 2.8), layout="constrained")
low, high = np.percentile(scan.truth, (0.5, 99.5))
for axis, (name, image) in zip(axes, panels.items(), strict=False):
    axis.imshow(image, cmap="gray", vmin=low, vmax=high)
    axis.set_title(name)
    axis.set_axis_off()
axes[-1].plot(results["network"].displacement[1].mean(1), np.arange(256))
axes[-1].invert_yaxis()
axes[-1].set_title("moved by, px")
plt.show()
