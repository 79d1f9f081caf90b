"""Collect what a run over a volume did, and what it could not do."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RunResult:
    """What a run did.

    Parameters
    ----------
    restored : list of int
        Slices that were restored in this run.
    filled : list of int
        Missing slices that were interpolated in this run.
    failed : dict of int to str
        Slices that were not, each with a sentence.
    lost : dict of str to str
        Chunks that could not be copied, each with a sentence.
    unmade : dict of str to str
        Chunks of coarser levels, masks or displacement that could not be made,
        each with a sentence; those of the volume stay as they were.
    notes : list of str
        What is worth knowing, one sentence each.
    megapixels : float
        Of the slices that were restored.
    """

    restored: list[int] = field(default_factory=list)
    filled: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    unmade: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    megapixels: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.failed or self.lost or self.unmade)
