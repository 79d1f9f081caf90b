"""Fold clean slices: the paper's simulation made exact, realistic folds, synthetic tissue."""

from sff_napari.simulation.neuropil import neuropil
from sff_napari.simulation.plan import (
    FoldPlan,
    RealisticRanges,
    random_realistic,
    random_straight,
)
from sff_napari.simulation.ranges import (
    ranges_from_dict,
    ranges_to_dict,
    read_ranges,
    write_ranges,
)
from sff_napari.simulation.simulate import (
    Simulation,
    apply_flow,
    simulate,
    simulate_fold,
    simulate_realistic,
    simulate_straight,
)

__all__ = [
    "FoldPlan",
    "RealisticRanges",
    "Simulation",
    "apply_flow",
    "neuropil",
    "random_realistic",
    "random_straight",
    "ranges_from_dict",
    "ranges_to_dict",
    "read_ranges",
    "simulate",
    "simulate_fold",
    "simulate_realistic",
    "simulate_straight",
    "write_ranges",
]
