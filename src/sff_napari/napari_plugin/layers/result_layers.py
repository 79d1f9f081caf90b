"""Layers that show results: restored, flow, reference, unfolded, synthesised, confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sff_napari.flow_colours import colours_of
from sff_napari.napari_plugin.controller.result_store import ResultStore
from sff_napari.napari_plugin.layers.flow_arrows import arrows
from sff_napari.napari_plugin.layers.layer_queue import LayerQueue
from sff_napari.napari_plugin.layers.patched_stack import PatchedLevel, PatchedStack
from sff_napari.sessions.records import Index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari import Viewer
    from napari.layers import Layer

    from sff_napari.napari_plugin.layers.image_source import ImageSource

RESTORED = "restored"
EXTRA = ("reference", "unfolded", "confidence", "synthesised", "flow", "flow colours")
MARK = "sff_napari_result"


class ResultLayers:
    """The result layers of one stack in one viewer; main thread only.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are shown.
    source : ImageSource
        The stack; layers get its scale, translate, units and axis labels.
    store : ResultStore
        The results.
    queue : LayerQueue
        Adds and removes the layers.
    names : mapping of str to str, optional
        Names of layers that are called otherwise in the viewer.
    """

    def __init__(
        self,
        viewer: Viewer,
        source: ImageSource,
        store: ResultStore,
        queue: LayerQueue,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.names = dict(names or {})
        self.queue = queue
        self.is_shown = True
        self.viewer = viewer
        self.source = source
        self.store = store
        self.wanted: set[str] = {"synthesised", "flow"}
        self.layers: dict[str, Layer] = {}
        self.on_change: Callable[[], object] = lambda: None
        """Called after a layer was added."""
        self._hidden_by_tool = False

    def layer(self, name: str) -> Any | None:
        """Return a result layer that is in the viewer, or None."""
        layer = self.layers.get(name)
        return layer if layer is not None and layer in self.viewer.layers else None

    def update(self, index: Index) -> None:
        """Show what the store holds after the result of slice `index` changed."""
        if not len(self.store):
            for layer in list(self.layers):
                self._refresh(layer)
            return
        for name in (RESTORED, *EXTRA):
            if name != RESTORED and name not in self.wanted:
                continue
            if self.layer(name) is None:
                self._bring(name)
            elif name == "flow":
                self._update_arrows()
            else:
                self._refresh(name)

    @property
    def is_missing(self) -> bool:
        """Whether there are results but no layer `restored`, such as after it was deleted."""
        return bool(len(self.store)) and self.layer(RESTORED) is None

    def _bring(self, name: str) -> None:
        """Add a layer soon, if it is still wanted then."""

        def bring() -> None:
            wanted = self.is_shown and len(self.store) and self.layer(name) is None
            if name != RESTORED and name not in self.wanted:
                return
            if wanted and self.source.is_current(self.viewer):
                self._add(name)
                self.on_change()

        self.queue.later(bring, key=(id(self), "add", name))

    def _take_away(self, name: str) -> None:
        """Remove a layer soon."""
        layer = self.layers.pop(name, None)

        def remove() -> None:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)

        if layer is not None:
            self.queue.later(remove)

    def want(self, names: set[str]) -> None:
        """Choose which layers beside `restored` there are; the others are removed."""
        self.wanted = set(names)
        for name in EXTRA:
            if name not in names:
                self._take_away(name)
        if len(self.store):
            self.update(())

    def overlays(self) -> list[Any]:
        """Return every result layer in the viewer."""
        return [layer for name in (RESTORED, *EXTRA) if (layer := self.layer(name)) is not None]

    def attach(self) -> None:
        """Bring the layers into the viewer."""
        self.is_shown = True
        self.update(())

    def detach(self) -> None:
        """Remove the layers from the viewer."""
        self.is_shown = False
        for name in list(self.layers):
            self._take_away(name)

    def show(self, name: str = RESTORED) -> None:
        """Make a layer visible that a person or a tool has hidden."""
        layer = self.layer(name)
        if layer is not None:
            layer.visible = True
            self._hidden_by_tool = False

    def hide_for_drawing(self, drawing: bool) -> None:
        """Show the damaged slice while a drawing tool is used, and the result afterwards."""
        layer = self.layer(RESTORED)
        if layer is not None and drawing and layer.visible:
            layer.visible = False
            self._hidden_by_tool = True
        elif not drawing and self._hidden_by_tool:
            self._hidden_by_tool = False
            self.show()

    def renew(self) -> None:
        """Show the slices that have no result from data that were exchanged."""
        layer = self.layer(RESTORED)
        if layer is None:
            return
        stacks = layer.data if layer.multiscale else [layer.data]
        for stack, level in zip(stacks, self.source.levels, strict=True):
            stack.base = level
        self._refresh(RESTORED)

    def _refresh(self, name: str) -> None:
        layer = self.layer(name)
        if layer is not None:
            layer.refresh(extent=False)

    def _add(self, name: str) -> None:
        from napari.layers import Image, Vectors

        source = self.source
        common = {"name": self.names.get(name, name), "metadata": {MARK: name}, **source.alike()}
        layer: Layer
        if name == RESTORED:
            layer = self._restored_layer(common)
        elif name == "flow":
            data, colours = arrows(self.store, source)
            layer = Vectors(
                data,
                ndim=source.ndim,
                edge_color=colours if len(data) else "white",
                edge_width=max(1.0, max(source.plane) / 400),
                vector_style="arrow",
                visible=False,
                **common,
            )
        elif name == "flow colours":
            stack = PatchedStack(
                source.shape,
                np.uint8,
                lambda i: None if (f := self._array(i, "flow")) is None else colours_of(f),
                channels=4,
            )
            layer = Image(stack, rgb=True, opacity=0.6, visible=False, **common)
        else:
            layer = self._extra_image(name, common)
        self.layers[name] = layer
        self._place(layer, name)

    def _restored_layer(self, common: dict[str, Any]) -> Layer:
        from napari.layers import Image

        source = self.source
        levels = [
            PatchedLevel(level, source.data, source.dtype, self.store.shown)
            for level in source.levels
        ]
        return Image(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            contrast_limits=source.layer.contrast_limits,
            colormap=source.layer.colormap,
            gamma=source.layer.gamma,
            **common,
        )

    def _array(self, index: Index, key: str) -> Any:
        result = self.store.get(index)
        if result is None or result.state == "rejected":
            return None
        return self.store.array(index, key)

    def _extra_image(self, name: str, common: dict[str, Any]) -> Layer:
        from napari.layers import Image

        source = self.source
        grey = name == "reference"
        stack = PatchedStack(
            source.shape, source.dtype if grey else np.float32, lambda i: self._array(i, name)
        )
        if name == "synthesised":
            look: dict[str, Any] = {
                "colormap": "magenta",
                "contrast_limits": (0, 1),
                "blending": "additive",
                "opacity": 0.5,
            }
        elif name == "confidence":
            look = {"colormap": "viridis", "contrast_limits": (0, 1), "opacity": 0.7}
        else:
            look = {
                "colormap": source.layer.colormap,
                "contrast_limits": source.layer.contrast_limits,
            }
        return Image(stack, visible=False, multiscale=False, **look, **common)

    def _place(self, layer: Layer, name: str) -> None:
        """Add a layer just above the stack, below the fold lines, and keep the selection."""
        layers = self.viewer.layers
        active = layers.selection.active
        at = layers.index(self.source.layer) + 1 if self.source.layer in layers else len(layers)
        if name != RESTORED:
            restored = self.layer(RESTORED)
            at = layers.index(restored) + 1 if restored is not None else at
        layers.insert(at, layer)
        layers.selection.active = active

    def _update_arrows(self) -> None:
        layer = self.layer("flow")
        if layer is None:
            return
        data, colours = arrows(self.store, self.source)
        layer.data = data
        if len(data):
            layer.edge_color = colours
