"""What the form says, turned into arguments of the core in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

AUTO = "auto"


@dataclass(frozen=True)
class FormState:
    """Everything a person can choose for restoring and detecting.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` and so on.
    interpolation, unfolding, fusion : str
        Method of each stage; names as `sff_napari.restore` takes them.
    weights : str
        Folder of weights; empty for the bundled ones.
    tile : int
        Side of the tiles in pixels; 0 lets the core choose.
    cover : float
        Width in pixels added on each side of the dark line before unfolding;
        negative lets the core choose.
    threshold : float
        Binarisation threshold of the detection; negative lets the core choose.
    max_folds : int
        Most lines that are looked for in a slice.
    skip_damaged : bool
        Whether a damaged neighbour is replaced by the nearest undamaged slice.
    show : tuple of str
        Layers made beside `restored`.
    """

    device: str = AUTO
    interpolation: str = ""
    unfolding: str = ""
    fusion: str = ""
    weights: str = ""
    tile: int = 0
    cover: float = -1.0
    threshold: float = -1.0
    max_folds: int = 8
    skip_damaged: bool = True
    show: tuple[str, ...] = field(default=("synthesised", "flow"))

    def as_restore_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for `sff_napari.restore`; what is left to the core is absent."""
        arguments: dict[str, Any] = {"device": self.device}
        for stage in ("interpolation", "unfolding", "fusion"):
            if getattr(self, stage):
                arguments[stage] = getattr(self, stage)
        if self.weights:
            arguments["weights"] = self.weights
        if self.tile > 0:
            arguments["tile"] = self.tile
        if self.cover >= 0:
            arguments["cover"] = self.cover
        return arguments

    def as_detect_arguments(self) -> dict[str, Any]:
        """Return keyword arguments for `sff_napari.detect_folds`."""
        arguments: dict[str, Any] = {"device": self.device, "max_folds": self.max_folds}
        if self.threshold >= 0:
            arguments["threshold"] = self.threshold
        return arguments

    def with_changes(self, **changes: Any) -> FormState:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON types."""
        return {**asdict(self), "show": list(self.show)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> FormState:
        """Return the state that `to_dict` described; what is missing or wrong gets its default."""
        default = cls()
        known: dict[str, Any] = {}
        for part in fields(cls):
            value = record.get(part.name)
            if value is None or (part.name == "show" and not isinstance(value, list | tuple)):
                continue
            try:
                known[part.name] = (
                    tuple(str(v) for v in value)
                    if part.name == "show"
                    else type(getattr(default, part.name))(value)
                )
            except (TypeError, ValueError):
                continue
        return cls(**known)
