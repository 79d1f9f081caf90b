"""Constants chosen without the stack they are judged on.

    python benchmarks/leave_stack_out.py --data ../shared/data --out runs/left_out --folds 6

Each candidate value of each constant below is measured on every stack, the other constants as
they are in the code.  Then, for each stack, the value is chosen that is best on all the others,
and what it gives on the stack left out is printed beside what the value in the code and the best
value for that very stack give.  A constant is worth its value where the three hardly differ.

What is measured is kept in ``--out``: a run that was stopped goes on where it was.  Delete the
folder after a change of the code.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sff_napari.evaluation import Trials, evaluate
from sff_napari.io_atomic import write_json
from sff_napari.stacks import open_stack

CONSTANTS: dict[str, tuple[Any, ...]] = {
    "sff_napari.alignment.drift_model._VARIANCE": (0.25, 0.8, 2.5),
    "sff_napari.alignment.drift_model._FALL": (2.0, 2.5, 3.0),
    "sff_napari.alignment.drift_model._SHORT_REACH": (20.0, 40.0, 80.0),
    "sff_napari.alignment.drift_model._AT_AN_END": (0.15, 0.3, 0.5),
    "sff_napari.restoration.unfolding.law_posterior._UNIFORM": (2.5, 5.0, 10.0),
    "sff_napari.restoration.unfolding.law_posterior._DOUBT": (1.0, 2.0, 4.0),
}
"""Constants of the fit, and values to try.  Only such that are read when they are used: one that
is the default of a parameter or of a field was read when its module was imported."""
STACKS = {
    "vnc_stack1": ("vnc_stack1.tif", (3, 8, 12, 17, 18), 7),
    "vnc_stack2": ("vnc_stack2_z00_09.tif", None, 0),
    "isbi2012_train": ("isbi2012_train.tif", None, 0),
    "isbi2012_test": ("isbi2012_test.tif", None, 0),
    "snemi3d": ("snemi3d_z34_73.tif", tuple(range(5, 36)), 0),
}
"""File, slices (all if None) and seed of the folds."""
KINDS = ("straight", "realistic")
METHOD = "seamless"
SCORES = {"epe": "flow_error", "internal": "flow_error_internal", "psnr": "psnr"}
"""What can be chosen by; of PSNR more is better, of the others less."""


@contextmanager
def changed(name: str, value: Any) -> Iterator[None]:
    """Give a constant another value, in its module and wherever it was imported by name."""
    module_name, _, attribute = name.rpartition(".")
    before = getattr(importlib.import_module(module_name), attribute)
    holders = [
        module
        for key, module in list(sys.modules.items())
        if key.startswith("sff_napari") and getattr(module, attribute, None) is before
    ]
    for module in holders:
        setattr(module, attribute, value)
    try:
        yield
    finally:
        for module in holders:
            setattr(module, attribute, before)


def current(name: str) -> Any:
    """Return the value of a constant in the code.

    Raises
    ------
    SystemExit
        If there is no such constant.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError):
        raise SystemExit(f"There is no constant {name}: correct the table CONSTANTS.") from None


@dataclass(frozen=True)
class Measurer:
    """Measures candidates, or reads what was measured.

    Parameters
    ----------
    data, out : Path
        Where the stacks are, and where results are kept.
    folds : int
        Of each kind on each stack.
    device : str
        Where to compute.
    """

    data: Path
    out: Path
    folds: int
    device: str

    def __call__(self, name: str, value: Any, stack: str) -> dict[str, float]:
        """Return the mean scores of a candidate on a stack, over both kinds of folds."""
        # The value in the code is measured once for all constants.
        key = "as it is" if value == current(name) else f"{name.rpartition('.')[2]} {value}"
        file = self.out / f"{stack} {key} {self.folds}.json"
        if not file.is_file():
            print(f"... {stack}: {key}", file=sys.stderr, flush=True)
            self.out.mkdir(parents=True, exist_ok=True)
            path, slices, seed = STACKS[stack]
            with changed(name, value), open_stack(self.data / path) as opened:
                rows = [
                    evaluate(
                        opened,
                        Trials(slices, self.folds, kind, seed, device=self.device),
                        methods=[METHOD],
                    ).rows[0]
                    for kind in KINDS
                ]
            scores = {
                short: float(np.mean([row.mean[column] for row in rows]))
                for short, column in SCORES.items()
            }
            write_json(file, scores)
        return json.loads(file.read_text(encoding="utf-8"))


def merit(scores: dict[str, float], reference: dict[str, float], by: str) -> float:
    """Return how much better a score is than that of the value in the code; stacks count alike."""
    if by == "psnr":
        return scores[by] - reference[by]
    return math.log(reference[by] / max(scores[by], 1e-6))


def choices(measure: Measurer, name: str, by: str) -> Iterator[str]:
    """Yield a line for each stack left out."""
    now = current(name)
    values = list(dict.fromkeys([now, *CONSTANTS[name]]))
    found = {stack: {value: measure(name, value, stack) for value in values} for stack in STACKS}
    merits = {
        stack: {value: merit(own[value], own[now], by) for value in values}
        for stack, own in found.items()
    }
    for left_out, own in found.items():
        others = [merits[stack] for stack in found if stack != left_out]
        chosen = max(values, key=lambda v: sum(one[v] for one in others))
        best = max(values, key=lambda v: merits[left_out][v])
        cells = [left_out, f"{chosen}", f"{own[chosen][by]:.2f}", f"{now}", f"{own[now][by]:.2f}"]
        yield "| " + " | ".join([*cells, f"{best}", f"{own[best][by]:.2f}"]) + " |"
    overall = max(values, key=lambda v: sum(one[v] for one in merits.values()))
    yield f"\nbest on all stacks: {overall}"


def main() -> None:
    """Print a table a constant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder of the stacks.")
    parser.add_argument("--out", type=Path, required=True, help="Folder that keeps the results.")
    parser.add_argument("--folds", type=int, default=30, help="Of each kind on each stack.")
    parser.add_argument("--by", choices=list(SCORES), default="epe", help="What is chosen by.")
    parser.add_argument("--only", nargs="*", help="Constants, by a part of their name.")
    parser.add_argument("--device", default="cpu", help="Where to compute.")
    options = parser.parse_args()
    measure = Measurer(options.data, options.out, options.folds, options.device)
    names = [n for n in CONSTANTS if not options.only or any(one in n for one in options.only)]
    for name in names:
        current(name)
    print(f"{options.folds} folds of each kind a stack; {options.by}, chosen without the stack")
    for name in names:
        print(f"\n### {name}\n")
        print("| left out | chosen | gives | in the code | gives | best here | gives |")
        print("|---|---|---|---|---|---|---|")
        for line in choices(measure, name, options.by):
            print(line, flush=True)


if __name__ == "__main__":
    main()
