"""What folds do to their slices, measured as in section 3.1 of the paper."""

from sff_napari.analysis.analyse import Analysis, analyse
from sff_napari.analysis.block_matching import BLOCK, OVERLAP, RANGE, Matches, match_blocks
from sff_napari.analysis.measured_ranges import ranges_of
from sff_napari.analysis.statistics import FoldStatistics, LineStatistics, SideStatistics

__all__ = [
    "BLOCK",
    "OVERLAP",
    "RANGE",
    "Analysis",
    "FoldStatistics",
    "LineStatistics",
    "Matches",
    "SideStatistics",
    "analyse",
    "match_blocks",
    "ranges_of",
]
