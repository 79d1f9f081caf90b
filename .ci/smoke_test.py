"""Install a wheel or an sdist in a bare environment and run ``sff-napari demo`` with it.

    python .ci/smoke_test.py DIST PATTERN [TAG] [CONSTRAINTS]

DIST is the folder of the one file that fits PATTERN (``*.whl`` or ``*.tar.gz``); with a TAG such
as v0.1.0 the installed version must be that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LEAST_GAIN = 2.0
"""Decibels by which the restored slice must be closer to the truth than the folded one."""


def main(dist: str, pattern: str, tag: str = "", constraints: str = "") -> None:
    """Install, run the demonstration, and look at what it made."""
    (package,) = (path.resolve() for path in Path(dist).glob(pattern))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
        chosen = ["-c", str(Path(constraints).resolve())] if constraints else []
        # Nothing of the place from which this is called.
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

        def run(*words: object) -> str:
            return subprocess.run(
                [str(programs / str(words[0])), *map(str, words[1:])],
                cwd=folder,
                env=clean,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout

        run("python", "-m", "pip", "install", "--quiet", *chosen, package)
        print(run("sff-napari", "info", "--report"))
        version = run("python", "-c", "import sff_napari; print(sff_napari.__version__)").strip()
        if tag.startswith("v") and version != tag[1:]:
            sys.exit(f"{package.name} has the version {version}, not that of the tag {tag}.")
        print(run("sff-napari", "demo", "-o", "demo"))
        scores = json.loads((folder / "demo/scores.json").read_text(encoding="utf-8"))["scores"]
        gain = scores["restored"]["psnr"] - scores["damaged"]["psnr"]
        if gain < LEAST_GAIN or not (folder / "demo/demo.png").is_file():
            sys.exit(f"The demonstration went wrong: the slice gained {gain:.2f} dB.")
        run("sff-napari-train", "--help")
        print(f"{package.name}: version {version}, gain {gain:.2f} dB")


if __name__ == "__main__":
    main(*sys.argv[1:])
