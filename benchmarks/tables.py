"""Every table of docs/evaluation.md, and what restoration is asked to reach, in one run.

    python benchmarks/tables.py --data ../shared/data --out runs/tables
    python benchmarks/tables.py --data ../shared/data --out runs/quick --folds 6 --only goals

Each table is one ordinary ``sff-napari evaluate`` call, printed as it is to be typed.  What a
call printed and found is kept under ``--out``: a run that was stopped goes on where it was, and
nothing is measured twice.  Delete the folder after a change of the code.  Goals are printed with
95 % intervals from a bootstrap over folds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bootstrap import interval, ratio_interval
from numpy.typing import NDArray

KINDS = ("straight", "realistic")
CORD = "vnc_stack1.tif --slices 17-18"
OTHERS = "vnc_stack1.tif --slices 3,8,12 --seed 7"
ISBI = "isbi2012_train.tif"
CORTEX = "snemi3d_z34_73.tif --slices 5-35"
ALL = "damaged,copy,mean,inpainting,seamless,expected,ours,ceiling"
PAPER = "damaged,mean,interpolation,interpolation+fusion,unfolding+fusion,cascade,ours"
DRIFTS = (0.5, 1.0, 2.5, 5.0)
SHIFTS = ((3.0, -4.5), (-5.0, 5.0))
INJECTED = ("ours",)
"""Methods restored with drift injected; with two, the first's error over the second's is a goal:
give one that is told the true strength as the second."""

TABLES: dict[str, tuple[str, ...]] = {
    "Ventral nerve cord": tuple(f"{CORD} --kind {kind} --methods {ALL}" for kind in KINDS),
    "Other slices of the nerve cord": tuple(
        f"{OTHERS} --kind {kind} --methods mean,seamless,ceiling" for kind in KINDS
    ),
    "The paper's networks": tuple(f"{CORD} --kind {kind} --methods {PAPER}" for kind in KINDS),
    "Mouse cortex": tuple(f"{CORTEX} --kind {kind} --methods {ALL}" for kind in KINDS),
    "Segmentation": tuple(
        f"{stack} --instances {stack.split('.')[0]}_instances.tif{slices} --kind {kind} "
        f"--methods {ALL}"
        for stack, slices in (("isbi2012_train.tif", ""), ("snemi3d_z34_73.tif", " --slices 5-35"))
        for kind in KINDS
    ),
    "Drift that is known": tuple(
        f"{stack} --kind {kind} --methods {','.join(INJECTED)} --inject-drift {drift:g}"
        for stack in (CORTEX, CORD)
        for kind in KINDS
        for drift in DRIFTS
    ),
    "Shifted neighbours": tuple(
        f"{CORTEX} --kind realistic --methods ours --shift-neighbours {dy:g} {dx:g}"
        for dy, dx in SHIFTS
    ),
    "What mistakes cost": tuple(f"{CORD} --kind {kind} --perturb usual" for kind in KINDS),
}
"""Arguments of ``sff-napari evaluate`` under the headings of docs/evaluation.md."""


@dataclass(frozen=True)
class Runner:
    """Makes the calls, or reads what they found.

    Parameters
    ----------
    data, out : Path
        Where the stacks are, and where results are kept.
    folds : int
        Of each call.
    """

    data: Path
    out: Path
    folds: int

    def command(self, arguments: str) -> str:
        """Return a call as it is typed where the data are."""
        return f"sff-napari evaluate {arguments} --folds {self.folds}"

    def __call__(self, arguments: str) -> tuple[str, dict[str, Any]]:
        """Return what a call prints and what it found."""
        typed = self.command(arguments)
        name = hashlib.sha256(typed.encode()).hexdigest()[:16]
        text, found = self.out / f"{name}.txt", self.out / f"{name}.json"
        if not (text.is_file() and found.is_file()):
            self.out.mkdir(parents=True, exist_ok=True)
            words = [
                str((self.data / word).resolve()) if word.endswith(".tif") else word
                for word in shlex.split(typed)[1:]
            ]
            print(f"... {typed}", file=sys.stderr, flush=True)
            done = subprocess.run(
                [sys.executable, "-m", "sff_napari", *words, "--save", str(found)],
                stdout=subprocess.PIPE,
                text=True,
            )
            if done.returncode:
                raise SystemExit(f"{typed} ended with code {done.returncode}")
            text.write_text(done.stdout, encoding="utf-8")
        return text.read_text(encoding="utf-8"), json.loads(found.read_text(encoding="utf-8"))


def print_tables(run: Runner, headings: Sequence[str]) -> None:
    """Print the tables under some headings as they stand in docs/evaluation.md."""
    for heading in headings:
        print(f"\n## {heading}")
        for arguments in TABLES[heading]:
            text, _ = run(arguments)
            print(f"\n```\n{run.command(arguments)}\n```\n\n```\n{text.rstrip()}\n```", flush=True)


def per_fold(found: dict[str, Any], method: str, column: str) -> NDArray[np.float64]:
    """Return a score of every fold, NaN where it does not apply."""
    values = [one[column] for one in found["per_fold"][method]]
    return np.array([np.nan if value is None else value for value in values])


@dataclass(frozen=True)
class Goal:
    """One line of the table of goals.

    Parameters
    ----------
    what : str
        In words.
    value : (mean, low, high)
        With its 95 % interval.
    wanted : float
        The bound.
    at_least : bool
        Whether larger is better.
    """

    what: str
    value: tuple[float, float, float]
    wanted: float | None
    at_least: bool = False

    def line(self) -> str:
        """Return it as a row of a markdown table."""
        mean, low, high = self.value
        shown = f"{mean:.2f} ({low:.2f}..{high:.2f})" if low == low else f"{mean:.3f}"
        if self.wanted is None:
            return f"| {self.what} | {shown} | - | |"
        reached = mean >= self.wanted if self.at_least else mean <= self.wanted
        sign = ">=" if self.at_least else "<="
        return f"| {self.what} | {shown} | {sign} {self.wanted:g} | {'yes' if reached else 'no'} |"


def goals(run: Runner) -> Iterator[Goal]:
    """Yield the goals in turn; each makes the calls it needs."""
    base = run(TABLES["Mouse cortex"][1])[1]
    for (dy, dx), arguments in zip(SHIFTS, TABLES["Shifted neighbours"], strict=True):
        change = per_fold(run(arguments)[1], "ours", "flow_error")
        change = change - per_fold(base, "ours", "flow_error")
        what = f"SNEMI3D realistic, neighbours ±({dy:g}, {dx:g}) px off: change of EPE, px"
        yield Goal(what, interval(change), 0.3)
    for arguments in TABLES["Drift that is known"]:
        found = run(arguments)[1]
        errors = [per_fold(found, method, "flow_error") for method in INJECTED]
        where = f"{found['stack']} {found['kind']}, {found['conditions']}"
        if len(errors) == 1:
            yield Goal(f"{where}: EPE, px", interval(errors[0]), None)
        else:
            yield Goal(f"{where}: EPE over that of {INJECTED[1]}", ratio_interval(*errors), 1.25)
    simple: list[tuple[str, str, str, tuple[float, float], bool]] = [
        ("Ventral nerve cord", "ours", "psnr", (22.3, 17.8), True),
        ("Ventral nerve cord", "ours", "psnr_unshifted", (23.3, 19.5), True),
        ("Other slices of the nerve cord", "seamless", "flow_error", (0.8, 2.0), False),
        ("Segmentation", "ours", "flow_error", (2.5, 4.0), False),
        ("Mouse cortex", "ours", "psnr", (26.2, 23.2), True),
        ("The paper's networks", "cascade", "psnr", (18.0, float("nan")), True),
    ]
    for heading, method, column, wanted, at_least in simple:
        for arguments, bound in zip(TABLES[heading][:2], wanted, strict=True):
            found = run(arguments)[1]
            what = f"{found['stack']} {found['kind']}, {method}: {column}"
            limit = bound if bound == bound else None
            yield Goal(what, interval(per_fold(found, method, column)), limit, at_least)
    for heading in ("Ventral nerve cord", "Segmentation", "Mouse cortex"):
        for arguments in TABLES[heading][:2]:
            found = run(arguments)[1]
            error = found["calibration"]["ours"]["error"]
            what = f"{found['stack']} {found['kind']}: mean difference of the confidence"
            yield Goal(what, (error, float("nan"), float("nan")), 0.12)


def print_goals(run: Runner) -> None:
    """Print what is asked, what is reached, and whether that is enough."""
    print(f"\n{run.folds} folds a cell; 95 % intervals from a bootstrap over folds\n")
    print("| | reached | wanted | |\n|---|---|---|---|")
    for goal in goals(run):
        print(goal.line(), flush=True)


def main() -> None:
    """Print all tables, some of them, or the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder of the stacks.")
    parser.add_argument("--out", type=Path, required=True, help="Folder that keeps the results.")
    parser.add_argument("--folds", type=int, default=30, help="Of each call.")
    parser.add_argument(
        "--only", nargs="*", help="Headings of docs/evaluation.md (their beginning), or goals."
    )
    options = parser.parse_args()
    run = Runner(options.data, options.out, options.folds)
    wanted: Callable[[str], bool] = lambda name: (  # noqa: E731
        not options.only or any(name.lower().startswith(one.lower()) for one in options.only)
    )
    print_tables(run, [heading for heading in TABLES if wanted(heading)])
    if wanted("goals"):
        print_goals(run)


if __name__ == "__main__":
    main()
