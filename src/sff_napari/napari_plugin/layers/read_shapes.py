"""Read fold lines back from the shapes of a layer that a person has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sff_napari.napari_plugin.controller.line_changes import Lines, record_of_shape
from sff_napari.sessions import FoldRecord


@dataclass
class ReadShapes:
    """What the shapes of a layer say.

    Parameters
    ----------
    lines : dict
        Fold lines by their names, in the order of the shapes that stay.
    refused : list of int
        Places of shapes that are no fold lines.
    reshaped : list of (int, str)
        Places, among those that stay, and names of lines that the shape does not show exactly.
    renamed : bool
        Whether the layer's table of names is wrong.
    """

    lines: Lines = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    reshaped: list[tuple[int, str]] = field(default_factory=list)
    renamed: bool = False

    @property
    def is_to_be_mended(self) -> bool:
        """Whether the layer shows something else than the lines."""
        return bool(self.refused or self.reshaped or self.renamed)


def read_shapes(layer: Any, known: Mapping[str, FoldRecord], plane: tuple[int, int]) -> ReadShapes:
    """Return the fold lines that the shapes of a layer stand for.

    Parameters
    ----------
    layer : napari.layers.Shapes
        The layer.
    known : mapping
        The lines as they were, by their names.
    plane : (Y, X)
        Shape of a slice.
    """
    names = [str(uid) for uid in layer.features["uid"]]
    widths = layer.edge_width
    read = ReadShapes()
    for i, (points, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
        name = names[i] if i < len(names) else ""
        record = record_of_shape(
            points, widths[i], known.get(name), is_new=name in read.lines, plane=plane
        )
        if kind not in ("line", "path") or record is None:
            read.refused.append(i)
            continue
        read.renamed |= i >= len(names) or record.uid != names[i]
        bent = len(record.vertices) > 2
        if len(record.vertices) != len(points) or bent != (kind == "path"):
            read.reshaped.append((len(read.lines), record.uid))
        read.lines[record.uid] = record
    read.renamed |= len(names) != len(read.lines)
    return read
