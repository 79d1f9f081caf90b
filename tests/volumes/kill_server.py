"""Runs volume jobs in processes that it kills; started by the kill tests.

Everything is imported once, and each run is a fork: a kill costs milliseconds.
Reads one JSON request a line and answers each with one line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import sff_napari.restoration.restore
from sff_napari.stacks import open_stack, read_folds
from sff_napari.volumes import pipeline, restore_volume
from sff_napari.volumes.plan.request import VolumeRequest
from sff_napari.volumes.plan.settings import VolumeSettings
from sff_napari.volumes.restore import block
from sff_napari.volumes.revert import revert_folds
from sff_napari.volumes.run import folder
from sff_napari.volumes.run.executors import Threads
from sff_napari.volumes.write import chunks, copy_chunks, derived_arrays, downsample

LOADED = (
    pipeline,
    chunks,
    copy_chunks,
    downsample,
    block,
    derived_arrays,
    sff_napari.restoration.restore,
)
QUICK = VolumeSettings(interpolation="mean", unfolding="law", fusion="stitch")


def quick(*slices: Any, **options: Any) -> Any:
    """Restore without the fit that a law takes, and say how sure it is all the same."""
    made = sff_napari.restore(*slices, **{**options, "unfolding": "none"})
    return replace(made, confidence=(1 - 0.5 * (made.synthesised > 0)).astype(np.float16))


def work(request: dict[str, Any]) -> None:
    """Do what is asked, and die at the place that is named."""
    count = 0
    put = folder.replace

    def counted(partial: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == request.get("before"):
            os.kill(os.getpid(), signal.SIGKILL)
        put(partial, target)
        if count == request.get("after"):
            os.kill(os.getpid(), signal.SIGKILL)

    folder.replace = counted
    block.restore = quick
    if request["what"] == "revert":
        revert_folds(Path(request["out"]), request["folds"], pool=Threads(1))
    else:
        with open_stack(request["source"]) as stack:
            restore_volume.restore_volume(
                VolumeRequest(
                    request["source"],
                    stack,
                    read_folds(request["folds"]).folds,
                    request["out"],
                    slices=request.get("slices"),
                    overlay=request.get("overlay", False),
                    settings=QUICK,
                ),
                pool=Threads(2),
            )


def main() -> None:
    """Answer requests until the input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                work(request)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        if "delay" in request:
            time.sleep(request["delay"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"killed": os.WIFSIGNALED(status), "status": status}), flush=True)


if __name__ == "__main__":
    main()
