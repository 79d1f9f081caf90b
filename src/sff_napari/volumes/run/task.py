"""One task, wherever it runs: what it does, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sff_napari.errors import Cancelled, SffError
from sff_napari.volumes.run.errors import Stop, sentence
from sff_napari.volumes.run.restored_volume import Job, Origin, open_job


@dataclass(frozen=True)
class Task:
    """A piece of work that can be done anywhere, and again.

    Parameters
    ----------
    kind : str
        What is done; see `perform`.
    arguments : mapping
        Plain JSON types.
    """

    kind: str
    arguments: Mapping[str, Any]


def _known() -> dict[str, Callable[[Job, Mapping[str, Any]], dict[str, Any]]]:
    from sff_napari.volumes.restore import block, missing_slice, window_fit
    from sff_napari.volumes.write import chunks, copy_chunks, downsample

    return {
        "fit": window_fit.fit_window,
        "restore": block.restore_piece,
        "fill": missing_slice.fill_piece,
        "cell": chunks.write_cell,
        "sides": chunks.write_sides,
        "coarse": downsample.write_coarse,
        "coarse label": downsample.write_coarse_label,
        "copy": copy_chunks.copy_keys,
        "import": copy_chunks.import_cells,
    }


def perform(root: str, origin: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Do a task.

    Parameters
    ----------
    root : str
        Folder of the result.
    origin : mapping
        Where its pixels come from; see `Origin`.
    task : Task
        What to do.

    Returns
    -------
    dict
        What the task says; ``failed`` with a sentence if it could not be done,
        ``stop`` with a sentence if the whole run has to end.
    """
    if task.kind == "search":  # reads a stack, makes no volume
        from sff_napari.volumes.find.detect_volume import search_task

        return search_task(task.arguments)
    try:
        job = open_job(Path(root), Origin.from_dict(dict(origin)))
        return _known()[task.kind](job, task.arguments)
    except Cancelled:
        raise
    except Stop as error:
        return {"stop": sentence(error)}
    except SffError as error:
        return {"failed": sentence(error)}
    except MemoryError:
        return {"failed": "There was not enough memory: use a smaller --tile."}
    except Exception as error:  # one bad chunk must not end the run, whatever it raises
        return {"failed": sentence(error)}
