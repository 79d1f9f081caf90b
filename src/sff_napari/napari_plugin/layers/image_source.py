"""An image layer as a stack of slices, whatever its array type and axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sff_napari.errors import InputError
from sff_napari.napari_plugin.layers.native_arrays import as_core_input, as_native, dtype_of
from sff_napari.sessions.records import Index

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image


class ImageSource:
    """The slices of an image layer: (Y, X) are its last two axes.

    Parameters
    ----------
    layer : napari Image layer
        Any array that napari shows, or multiscale; at least two axes; not RGB.
    slice_axis : int, optional
        The axis that counts slices; the third from the end if not given.

    Raises
    ------
    InputError
        If the layer cannot be a stack of grey slices.
    """

    def __init__(self, layer: Image, slice_axis: int | None = None) -> None:
        if layer.rgb:
            raise InputError(
                f"The layer '{layer.name}' is a colour image: choose or make a grey one."
            )
        if layer.ndim < 2:
            raise InputError(f"The layer '{layer.name}' has one axis: an image needs two or more.")
        self.layer = layer
        self.file_voxel_size: tuple[float, float, float] | None = None
        """Size (z, y, x) of a voxel in nm as the file says it, where the layer does not."""
        self._take_data()
        self.ndim = len(self.shape)
        last = self.ndim - 3
        self.axis = last if slice_axis is None else int(slice_axis)
        if self.ndim > 2 and not 0 <= self.axis <= last:
            raise InputError(f"Axis {slice_axis} cannot count slices: choose one of 0 to {last}.")

    def _take_data(self) -> None:
        layer = self.layer
        self.held = layer.data
        levels = list(layer.data) if layer.multiscale else [layer.data]
        self.levels: list[Any] = [as_native(level) for level in levels]
        self.data = self.levels[0]
        self.shape = tuple(int(n) for n in self.data.shape)
        self.dtype = dtype_of(self.data)

    def renew(self) -> bool:
        """Take over data that were exchanged in the layer.

        Returns
        -------
        bool
            False if they have another shape or data type: then nothing is taken over.
        """
        layer = self.layer
        finest = layer.data[0] if layer.multiscale else layer.data
        if tuple(finest.shape) != self.shape or dtype_of(finest) != self.dtype:
            return False
        self._take_data()
        return True

    @property
    def plane(self) -> tuple[int, int]:
        """Shape (Y, X) of a slice."""
        return self.shape[-2], self.shape[-1]

    @property
    def count(self) -> int:
        """Number of slices along the slice axis."""
        return self.shape[self.axis] if self.ndim > 2 else 1

    @property
    def path(self) -> str | None:
        """Where the stack was read from, if it was."""
        source = getattr(self.layer, "source", None)
        path = getattr(source, "path", None)
        return str(path) if path else None

    def is_current(self, viewer: Viewer) -> bool:
        """Tell whether the layer is still in the viewer and holds the same data."""
        return self.layer in viewer.layers and self.layer.data is self.held

    def read(self, index: Index) -> NDArray[Any]:
        """Return one slice (Y, X) as the core takes it; see `read_stored`."""
        return as_core_input(self.read_stored(index))

    def read_stored(self, index: Index) -> NDArray[Any]:
        """Return one slice (Y, X); called from workers, so it touches the array alone.

        Raises
        ------
        InputError
            If the slice cannot be read.
        """
        try:
            return np.array(self.data[index] if index else self.data)
        except (OSError, ValueError, IndexError, KeyError, RuntimeError) as error:
            raise InputError(f"Slice {self.name_of(index)} cannot be read: {error}.") from error

    def read_row(self, index: Index, selection: tuple[Any, Any]) -> NDArray[Any]:
        """Return part of a slice, reading no more than the array needs for it."""
        return np.array(self.data[(*index, *selection)])

    def index_at(self, viewer: Viewer) -> Index:
        """Return the slice that the viewer shows."""
        if self.ndim == 2:
            return ()
        point = np.asarray(viewer.dims.point, dtype=float)[-self.ndim :]
        place = np.asarray(self.layer.world_to_data(point))[: self.ndim - 2]
        top = np.asarray(self.shape[:-2]) - 1
        return tuple(int(i) for i in np.clip(np.rint(place), 0, top))

    def show(self, viewer: Viewer, index: Index) -> None:
        """Move the viewer's sliders to a slice."""
        if not index:
            return
        world = np.asarray(self.layer.data_to_world((*index, 0, 0)))
        offset = viewer.dims.ndim - self.ndim
        for axis in range(len(index)):
            viewer.dims.set_point(axis + offset, float(world[axis]))

    def every_index(self, like: Index) -> list[Index]:
        """Return all slices along the slice axis at the other axes' positions of `like`."""
        if not like:
            return [()]
        return [(*like[: self.axis], z, *like[self.axis + 1 :]) for z in range(self.count)]

    def every_volume(self) -> list[Index]:
        """Return the first slice of each volume: one for every position on the other axes."""
        outer = [1 if axis == self.axis else n for axis, n in enumerate(self.shape[:-2])]
        return [tuple(int(i) for i in index) for index in np.ndindex(*outer)]

    def volume_name(self, at: Index) -> str:
        """Return a folder's name for the volume that slice `at` belongs to: ``"t0003"``."""
        labels = [str(label) for label in getattr(self.layer, "axis_labels", ())]
        parts = []
        for axis, place in enumerate(at):
            if axis == self.axis:
                continue
            label = labels[axis] if axis < len(labels) else ""
            # napari numbers axes that have no name.
            parts.append(f"{label if label.isalpha() else f'axis{axis}_'}{place:04d}")
        return "-".join(parts) or "all"

    def place_of(self, index: Index) -> int:
        """Return the position along the slice axis."""
        return index[self.axis] if index else 0

    def name_of(self, index: Index) -> str:
        """Return the slice's number as a person reads it: ``"7"``, or ``"1, 7"`` in 4-D."""
        return ", ".join(str(i) for i in index) if index else "0"

    def alike(self) -> dict[str, Any]:
        """Return keyword arguments that put another layer in the same place of the world."""
        kwargs: dict[str, Any] = {
            "scale": self.layer.scale,
            "translate": self.layer.translate,
            "rotate": self.layer.rotate,
            "shear": self.layer.shear,
            "affine": self.layer.affine.affine_matrix,
        }
        for name in ("units", "axis_labels"):
            value = getattr(self.layer, name, None)
            if value is not None:
                kwargs[name] = tuple(value)
        return kwargs

    def take_file_scale(self) -> bool:
        """Give the layer the scale and units that its file says; False if it says none."""
        size = self.file_voxel_size
        if size is None or self.ndim < 3:
            return False
        scale = [float(s) for s in self.layer.scale]
        units = [str(unit) for unit in self.layer.units]
        for axis, value in zip((self.axis, self.ndim - 2, self.ndim - 1), size, strict=True):
            scale[axis], units[axis] = value, "nm"
        self.layer.units = tuple(units)
        self.layer.scale = scale
        return True

    @property
    def voxel_size(self) -> tuple[float, float, float] | None:
        """Size (z, y, x) of a voxel in nm: of the layer if its units are lengths, or the file's."""
        return self.layer_voxel_size or self.file_voxel_size

    @property
    def layer_voxel_size(self) -> tuple[float, float, float] | None:
        """Size (z, y, x) of a voxel in nm, if the layer's units are lengths."""
        units = getattr(self.layer, "units", None)
        factors = {"nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6, "angstrom": 0.1}
        if self.ndim < 3 or units is None:
            return None
        sizes = []
        for axis in (self.axis, self.ndim - 2, self.ndim - 1):
            factor = factors.get(str(units[axis]))
            if factor is None:
                return None
            sizes.append(float(self.layer.scale[axis]) * factor)
        return sizes[0], sizes[1], sizes[2]
