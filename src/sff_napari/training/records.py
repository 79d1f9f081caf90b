"""Write what a run leaves behind: checkpoints, a CSV log, pictures, the stored settings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from sff_napari.errors import InputError, StackError
from sff_napari.io_atomic import explain, write_bytes, write_json
from sff_napari.training.settings import TrainingSettings


class Settings(Protocol):
    """What a run is made of, whatever it trains."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""


LOG_FIELDS = (
    "stage",
    "iteration",
    "minutes",
    "learning_rate",
    "train_loss",
    "validation_loss",
    "best",
    "scores",
)
_CHECKPOINT = 1


class RunFolder:
    """The output folder of a run.

    Parameters
    ----------
    path : str or Path
        The folder; made if it does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.log = self.path / "log.csv"

    def begin(self, settings: Settings, command: str) -> None:
        """Make the folder and store the settings and the command that started the run.

        Raises
        ------
        InputError
            If a run is there already.
        StackError
            If it cannot be written.
        """
        if (self.path / "run.json").exists():
            raise InputError(
                f"{self.path} already holds a training run: add --resume to go on with it, "
                "or choose another folder."
            )
        self._make_folders()
        write_json(self.path / "run.json", settings.to_dict() | {"commands": [command]})
        self._write_rows([])

    def settings(self) -> TrainingSettings:
        """Return the stored settings of the run that is there.

        Raises
        ------
        InputError
            If there is no run, or its record is damaged.
        """
        self._make_folders()
        return TrainingSettings.from_dict(self.record())

    def commands(self) -> list[str]:
        """Return the commands that started and resumed the run, in order."""
        return [str(command) for command in self.record().get("commands", [])]

    def record(self) -> dict[str, Any]:
        """Return what is stored of the run: its settings and commands.

        Raises
        ------
        InputError
            If there is no run, or its record is damaged.
        """
        try:
            record = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path} holds no training run to resume: leave out --resume to start one."
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(f"The file run.json in {self.path} cannot be read.") from error
        return record

    def store(self, settings: Settings, command: str) -> None:
        """Store settings that changed where they may, and the command that resumed the run."""
        commands = [*self.commands(), command]
        write_json(self.path / "run.json", settings.to_dict() | {"commands": commands})

    def check_same(self, stored: Settings, wanted: Settings, may_change: Sequence[str]) -> None:
        """Check that the run can be resumed with settings.

        Parameters
        ----------
        stored, wanted : Settings
            Those of the run, and those it is to go on with.
        may_change : sequence of str
            Names of the settings in which they may differ.

        Raises
        ------
        InputError
            Naming the settings that differ and must not.
        """
        old, new = stored.to_dict(), wanted.to_dict()
        differ = [name for name in old if name not in may_change and old[name] != new[name]]
        if differ:
            names = ", ".join(name.replace("_", "-") for name in differ)
            raise InputError(
                f"The run to resume was started with other settings ({names}): "
                "leave them out, or start a new run in another folder."
            )

    def rows(self, stage: str) -> list[dict[str, Any]]:
        """Return the log of a stage."""
        with self.log.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row["stage"] == stage]

    def _make_folders(self) -> None:
        for folder in (self.path, self.path / "checkpoints", self.path / "pictures"):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise explain(error, folder) from error

    def weights(self, stage: str) -> Path:
        """Return where the finished weights of a stage go."""
        return self.path / f"{stage}.safetensors"

    def save(self, stage: str, which: str, state: Mapping[str, Any]) -> None:
        """Write the checkpoint ``last`` or ``best`` of a stage, atomically."""
        # Made in memory first: torch hides a full disk behind an error of its own.
        data = io.BytesIO()
        torch.save({"checkpoint": _CHECKPOINT, **state}, data)
        write_bytes(self._checkpoint(stage, which), data.getvalue())

    def restore(self, stage: str, which: str) -> dict[str, Any] | None:
        """Return a checkpoint of a stage; None if there is none.

        Raises
        ------
        InputError
            If it is damaged.
        """
        path = self._checkpoint(stage, which)
        if not path.exists():
            return None
        try:
            # Only tensors and plain values: a checkpoint cannot run code.
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state.pop("checkpoint") != _CHECKPOINT:
                raise ValueError("another version")
        except Exception as error:  # torch raises many kinds for a damaged file
            raise InputError(
                f"The checkpoint {path} is damaged or of another version: remove it to start "
                f"the stage again."
            ) from error
        return state

    def is_begun(self, stage: str) -> bool:
        """Whether a stage has a checkpoint to go on from."""
        return self._checkpoint(stage, "last").exists()

    def _checkpoint(self, stage: str, which: str) -> Path:
        return self.path / "checkpoints" / f"{stage}_{which}.pt"

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add one validation to the log."""
        text = io.StringIO()
        csv.DictWriter(text, LOG_FIELDS).writerow(row)
        try:
            with self.log.open("a", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
        except OSError as error:
            raise explain(error, self.log) from error

    def cut_rows(self, stage: str, iteration: int) -> None:
        """Forget the validations of a stage after an iteration: they will be made again."""
        try:
            with self.log.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, csv.Error):
            rows = []
        whole = [row for row in rows if all(row.get(name) is not None for name in LOG_FIELDS)]
        self._write_rows(
            [row for row in whole if row["stage"] != stage or int(row["iteration"]) <= iteration]
        )

    def _write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, LOG_FIELDS)
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.log, text.getvalue().encode("utf-8"))

    def add_picture(self, stage: str, iteration: int, images: Sequence[Sequence[Tensor]]) -> None:
        """Write validation samples as one PNG: a row a sample, images (1, Y, X) in [0, 1]."""
        rows = [np.hstack([image[0].cpu().numpy() for image in row]) for row in images]
        grey = np.rint(np.vstack(rows) * 255).astype(np.uint8)
        ok, data = cv2.imencode(".png", grey)
        if not ok:
            raise StackError(f"The picture of iteration {iteration} could not be made.")
        write_bytes(self.path / "pictures" / f"{stage}_{iteration:07d}.png", data.tobytes())
