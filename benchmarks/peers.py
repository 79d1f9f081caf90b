"""Other programs on the same simulated folds, beside this one: quality and seconds in one run.

    python benchmarks/peers.py ../shared/data/snemi3d_z34_73.tif --slices 5-35 --folds 6
    python benchmarks/peers.py ../shared/data/vnc_stack1.tif --slices 17-18 --kind realistic

FEABAS (the fold given as a mask, see peer_feabas.py) and elastix (see peer_elastix.py) are
installed from PyPI into environments of their own under ``--cache`` when they are first needed,
and run as processes of their own on files in a temporary folder.  What they return is a flow; the
slice is read along it, and where it leads onto the dark line or nowhere the mean of the
neighbours is shown, as in the rows ``ceiling`` and ``mean``.  Seconds are those of the work itself,
without starting a program or reading files, with the same number of threads for all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bootstrap import interval, ratio_interval
from scipy import ndimage

from sff_napari.evaluation import Case, Trials
from sff_napari.evaluation.methods import METHODS, Method, Outcome, Settings
from sff_napari.evaluation.scoring import scores_of
from sff_napari.restoration import DEFAULT_COVER
from sff_napari.restoration.unfolding.fitted_fold import covered
from sff_napari.simulation import apply_flow
from sff_napari.stacks import open_stack

OURS = ("mean", "seamless", "ours", "ceiling")
COLUMNS = (
    "psnr",
    "ssim",
    "flow_error",
    "flow_shift",
    "flow_error_internal",
    "psnr_unshifted",
    "ssim_unshifted",
    "seconds",
)
_LIMIT = 1800
"""Seconds after which a peer has failed on a fold."""
_FEABAS_SETTINGS = "parallel_framework: thread\ncpu_budget: {threads}\nfull_resolution: 4\n"


@dataclass(frozen=True)
class Peer:
    """A program that is installed and run.

    Parameters
    ----------
    name : str
        What the table calls it.
    package : str
        What is installed, with its version.
    script : str
        What runs in its environment, beside this file.
    """

    name: str
    package: str
    script: str

    def python(self, cache: Path) -> Path:
        """Return the interpreter of its environment, made if it is not there."""
        place = cache / self.package.replace("==", "-")
        python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
        ready = place / "ready"
        if not ready.is_file():
            print(f"Installing {self.package} into {place}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
            subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", self.package], check=True
            )
            ready.touch()
        return python

    def flow(self, case: Case, python: Path, threads: int) -> tuple[np.ndarray | None, float]:
        """Return the flow (2, Y, X) it finds, None if it fails, and the seconds it took."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "configs").mkdir()
            (place / "configs" / "general_configs.yaml").write_text(
                _FEABAS_SETTINGS.format(threads=threads), encoding="utf-8"
            )
            np.savez(
                place / "case.npz",
                previous=case.previous,
                damaged=case.simulation.damaged,
                following=case.following,
                dark=dark_line(case),
            )
            script = Path(__file__).with_name(self.script)
            names = (
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
            )
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            done = subprocess.run(
                [str(python), str(script), "case.npz", "flow.npy"],
                cwd=place,
                env=environment | dict.fromkeys(names, str(threads)),
                capture_output=True,
                text=True,
                timeout=_LIMIT,
            )
            if done.returncode or not (place / "flow.npy").is_file():
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                print(f"{self.name} failed: {last}", file=sys.stderr, flush=True)
                return None, float("nan")
            return np.load(place / "flow.npy"), float(done.stdout.split()[-1])


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("feabas", "feabas==3.0.6", "peer_feabas.py"),
        Peer("elastix", "itk-elastix==0.25.4", "peer_elastix.py"),
    )
}


def dark_line(case: Case) -> np.ndarray:
    """Return the dark line (Y, X) bool that every method is given."""
    shape = (case.clean.shape[0], case.clean.shape[1])
    dark = np.zeros(shape, dtype=bool)
    for fold in case.folds:
        dark |= covered(fold, shape, DEFAULT_COVER).numpy()
    return dark


def shown(case: Case, flow: np.ndarray) -> np.ndarray:
    """Return the slice read along a flow, the mean of the neighbours where that shows nothing."""
    image = apply_flow(case.simulation.damaged, flow)
    rows, columns = np.indices(image.shape)
    places = np.nan_to_num(np.stack([rows + flow[0], columns + flow[1]]))
    onto = ndimage.map_coordinates(dark_line(case).astype(np.float32), places, order=1)
    mean = (case.previous.astype(np.float64) + case.following) / 2
    return np.where(np.isnan(image) | (onto > 0.01), mean, image)


def by_peer(peer: Peer, case: Case, python: Path, threads: int) -> dict[str, float]:
    """Return the scores of a peer on a fold, NaN where it failed."""
    flow, seconds = peer.flow(case, python, threads)
    if flow is None:
        return dict.fromkeys(COLUMNS, float("nan"))
    outcome = Outcome(shown(case, flow), flow.astype(np.float32))
    return scores_of(case, outcome) | {"seconds": seconds}


def by_us(method: Method, case: Case, settings: Settings) -> dict[str, float]:
    """Return the scores of a method of this package on a fold."""
    begin = time.perf_counter()
    outcome = method(case, settings)
    seconds = time.perf_counter() - begin
    return scores_of(case, outcome) | {"seconds": seconds}


def table(scores: Mapping[str, list[dict[str, float]]]) -> str:
    """Return the means over the folds, with 95 % intervals of PSNR, EPE and seconds."""
    lines = [
        f"{'method':<10}{'PSNR':>22}{'SSIM':>7}{'EPE px':>20}{'shift':>7}{'internal':>9}"
        f"{'PSNR*':>7}{'SSIM*':>7}{'s':>22}"
    ]
    for name, own in scores.items():
        column = {c: np.array([one[c] for one in own], dtype=np.float64) for c in COLUMNS}
        mean = {
            c: float(np.nanmean(v)) if np.isfinite(v).any() else np.nan for c, v in column.items()
        }
        cells = [f"{name:<10}", f"{_ranged(column['psnr']):>22}", f"{mean['ssim']:>7.3f}"]
        cells += [f"{_ranged(column['flow_error']):>20}", f"{mean['flow_shift']:>7.2f}"]
        cells += [f"{mean['flow_error_internal']:>9.2f}", f"{mean['psnr_unshifted']:>7.2f}"]
        cells += [f"{mean['ssim_unshifted']:>7.3f}", f"{_ranged(column['seconds']):>22}"]
        lines.append("".join(cells).replace("nan", "  -"))
    for peer in scores.keys() & PEERS.keys():
        theirs, ours = (
            np.array([one["seconds"] for one in scores[name]]) for name in (peer, "ours")
        )
        ratio, low, high = ratio_interval(theirs, ours)
        lines.append(f"{peer} takes {ratio:.1f} times as long as ours ({low:.1f}..{high:.1f})")
    return "\n".join(lines)


def _ranged(values: np.ndarray) -> str:
    mean, low, high = interval(values)
    return f"{mean:.2f} ({low:.2f}..{high:.2f})" if np.isfinite(mean) else "-"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stack", type=Path, help="Clean slices.")
    parser.add_argument("--slices", help="Slices to fold, e.g. 5-35.")
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--kind", choices=["straight", "realistic"], default="straight")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--threads", type=int, default=1, help="Of each program.")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sff-napari-peers",
        help="Folder of the peers' environments.",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pythons = {name: PEERS[name].python(options.cache.resolve()) for name in options.peers}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in (*OURS, *options.peers)}
    with open_stack(options.stack) as stack:
        slices = None if options.slices is None else stack.parse_slices(options.slices)
        trials = Trials(slices, options.folds, options.kind, options.seed, device="cpu")
        settings = Settings.of(trials)
        # The first restoration reads the weights: that is not what is timed.
        METHODS["ours"](trials.case(stack, 0), settings)
        for number in range(options.folds):
            case = trials.case(stack, number)
            print(f"fold {number + 1} of {options.folds}", file=sys.stderr, flush=True)
            for name in OURS:
                scores[name].append(by_us(METHODS[name], case, settings))
            for name, python in pythons.items():
                scores[name].append(by_peer(PEERS[name], case, python, options.threads))
    print(
        f"{options.folds} {options.kind} folds on {options.stack.name}, slices "
        f"{options.slices or 'all'}, seed {options.seed}, {options.threads} thread"
        f"{'s' * (options.threads > 1)}; *: without the common shift; 95 % intervals from a "
        "bootstrap over folds"
    )
    print(table(scores))


if __name__ == "__main__":
    main()
