"""The stack in work: what every part of the controller reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sff_napari.napari_plugin.controller.result_store import ResultStore

if TYPE_CHECKING:
    from sff_napari.napari_plugin.controller.autosave import Autosave
    from sff_napari.napari_plugin.controller.workspace import Workspace
    from sff_napari.napari_plugin.layers.fold_lines import FoldLines
    from sff_napari.napari_plugin.layers.image_source import ImageSource
    from sff_napari.napari_plugin.layers.result_layers import ResultLayers
    from sff_napari.napari_plugin.workers.job import Job
    from sff_napari.sessions import Index

_NOTHING = ResultStore()


class StackInWork:
    """Base of the controller's parts: the workspace in work and what belongs to it."""

    work: Workspace | None = None
    job: Job | None = None

    @property
    def source(self) -> ImageSource | None:
        """The stack in work."""
        return None if self.work is None else self.work.source

    @property
    def lines(self) -> FoldLines | None:
        """Its fold lines."""
        return None if self.work is None else self.work.lines

    @property
    def store(self) -> ResultStore:
        """Its results; empty without a stack."""
        return _NOTHING if self.work is None else self.work.store

    @property
    def layers(self) -> ResultLayers | None:
        """The layers that show its results."""
        return None if self.work is None else self.work.layers

    def overlays(self) -> list[Any]:
        """Return the layers that lie over the damaged slice: results and lines."""
        drawn = None if self.lines is None else self.lines.layer
        results = [] if self.layers is None else self.layers.overlays()
        return [*results, *([] if drawn is None else [drawn])]

    @property
    def keeper(self) -> Autosave | None:
        """What saves its session."""
        return None if self.work is None else self.work.keeper

    @property
    def searched(self) -> set[Index]:
        """Slices in which folds were looked for."""
        return set() if self.work is None else self.work.searched

    @property
    def is_busy(self) -> bool:
        """Whether a job is running that must end before the next one."""
        return self.job is not None
