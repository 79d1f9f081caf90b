"""What is kept of a person's work on one stack: lines, decisions, accepted slices."""

from sff_napari.sessions.neighbours import Neighbours, choose_neighbours, clean_pairs
from sff_napari.sessions.records import FoldRecord, Index, SliceRecord, new_uid
from sff_napari.sessions.sidecar import Identity, Sidecar, folder_name, identify, session_places

__all__ = [
    "FoldRecord",
    "Identity",
    "Index",
    "Neighbours",
    "Sidecar",
    "SliceRecord",
    "choose_neighbours",
    "clean_pairs",
    "folder_name",
    "identify",
    "new_uid",
    "session_places",
]
