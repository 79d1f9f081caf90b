"""Whether the fit holds when slices drift more than usual, or neighbours lie off.

    python benchmarks/drift_checks.py --data ../shared/data --folds 30

Prints two tables.  *Injected drift*: clean slices are moved by a random smooth drift of a known
strength before they are folded; the error of the flow is compared with that of the same fit told
the true strength.  *Opposite shifts*: the previous slice is moved by some px and the following one
by as many the other way, so that their middle stays where it is; the error must hardly change.
Intervals are 95 % intervals from a bootstrap over folds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from bootstrap import interval, ratio_interval
from numpy.typing import NDArray

from sff_napari.evaluation import Perturbation, Trials, evaluate
from sff_napari.stacks import open_stack

STACKS = {
    "snemi3d": ("snemi3d_z34_73.tif", tuple(range(5, 36))),
    "vnc_stack1": ("vnc_stack1.tif", (17, 18)),
}
"""File and slices that are folded."""
DRIFTS = (0.5, 1.0, 2.5, 5.0)
"""Root mean squares of what is injected, px."""
SHIFTS = ((3.0, -4.5), (-3.0, 4.5), (-5.0, 5.0), (5.0, -5.0))
"""What the previous slice is moved by, (dy, dx) in px."""


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the stacks")
    parser.add_argument("--folds", type=int, default=30)
    parser.add_argument("--kinds", default="straight,realistic")
    parser.add_argument("--stacks", default=",".join(STACKS))
    parser.add_argument("--only", choices=("injected", "opposite"))
    options = parser.parse_args()
    kinds, names = options.kinds.split(","), options.stacks.split(",")
    if options.only != "opposite":
        injected(options.data, names, options.folds, kinds)
    if options.only != "injected":
        opposite(options.data, names, options.folds, kinds)


def injected(data: Path, names: list[str], folds: int, kinds: list[str]) -> None:
    """Print the error with and without knowing the strength of the drift."""
    print(
        f"{'stack':<12}{'folds':>14}{'injected px':>13}{'EPE px':>9}{'told':>8}   ratio", flush=True
    )
    for name in names:
        file, slices = STACKS[name]
        stack = open_stack(data / file)
        for kind in kinds:
            for rms in DRIFTS:
                trials = Trials(slices=slices, folds=folds, kind=kind, inject_drift=rms)
                found = evaluate(stack, trials, methods=["seamless", "known-drift"])
                own, told = (_errors(found.scores[one]) for one in ("seamless", "known-drift"))
                ratio, low, high = ratio_interval(own, told)
                print(
                    f"{name:<12}{f'{folds} {kind}':>14}{rms:>13g}{own.mean():>9.2f}"
                    f"{told.mean():>8.2f}{ratio:>8.2f} ({low:.2f}..{high:.2f})",
                    flush=True,
                )


def opposite(data: Path, names: list[str], folds: int, kinds: list[str]) -> None:
    """Print how much the error changes if the neighbours are shifted by opposite amounts."""
    print(f"\n{'stack':<12}{'folds':>14}{'shift px':>13}{'EPE px':>9}{'change':>9}", flush=True)
    for name in names:
        file, slices = STACKS[name]
        stack = open_stack(data / file)
        for kind in kinds:
            usual: NDArray[np.float64] | None = None
            for shift in ((0.0, 0.0), *SHIFTS):
                given = Perturbation(shift=shift)
                trials = Trials(slices=slices, folds=folds, kind=kind, given=given)
                own = _errors(evaluate(stack, trials, methods=["seamless"]).scores["seamless"])
                usual = own if usual is None else usual
                change, low, high = interval(own - usual)
                print(
                    f"{name:<12}{f'{folds} {kind}':>14}{'({:g}, {:g})'.format(*shift):>13}"
                    f"{own.mean():>9.2f}{change:>9.2f} ({low:.2f}..{high:.2f})",
                    flush=True,
                )


def _errors(scores: list[dict[str, float]]) -> NDArray[np.float64]:
    return np.array([one["flow_error"] for one in scores])


if __name__ == "__main__":
    main()
