"""Train of the three networks, one after another (the paper, sections 3.3 and 5.2)."""

from sff_napari.training.run import train
from sff_napari.training.settings import DataSpec, TrainingSettings

__all__ = ["DataSpec", "TrainingSettings", "train"]
