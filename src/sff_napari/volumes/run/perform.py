"""Do one task, wherever it runs, and say why when it cannot be done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sff_napari.errors import Cancelled, SffError
from sff_napari.volumes.find.detect_volume import search_task
from sff_napari.volumes.restore.block import restore_block
from sff_napari.volumes.restore.missing_slice import fill_block
from sff_napari.volumes.restore.window_fit import fit_window
from sff_napari.volumes.run.errors import Stop, sentence
from sff_napari.volumes.run.restored_volume import PixelSource, RestoredVolume, open_restored_volume
from sff_napari.volumes.run.task import (
    CopyKeys,
    FillBlock,
    FitWindow,
    ImportChunks,
    RestoreBlock,
    SearchSlices,
    Task,
    WriteChunk,
    WriteCoarseChunk,
    WriteCoarseLabel,
    WriteDerivedBlock,
)
from sff_napari.volumes.write.chunks import write_chunk, write_derived_block
from sff_napari.volumes.write.copy_chunks import copy_keys, import_chunks
from sff_napari.volumes.write.downsample import write_coarse, write_coarse_label


def perform(root: str, origin: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Do a task.

    Parameters
    ----------
    root : str
        Folder of the result; of no meaning to a `SearchSlices`.
    origin : mapping
        Where its pixels come from; see `PixelSource`.
    task : Task
        What to do.

    Returns
    -------
    dict
        What the task says; ``failed`` with a sentence if it could not be done,
        ``stop`` with a sentence if the whole run has to end.
    """
    if isinstance(task, SearchSlices):
        return search_task(task)
    try:
        return _perform(open_restored_volume(Path(root), PixelSource.from_dict(dict(origin))), task)
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


def _perform(volume: RestoredVolume, task: Task) -> dict[str, Any]:
    match task:
        case FitWindow():
            return fit_window(volume, task)
        case RestoreBlock():
            return restore_block(volume, task)
        case FillBlock():
            return fill_block(volume, task)
        case WriteChunk():
            return write_chunk(volume, task)
        case WriteDerivedBlock():
            return write_derived_block(volume, task)
        case WriteCoarseLabel():  # before the class that it extends
            return write_coarse_label(volume, task)
        case WriteCoarseChunk():
            return write_coarse(volume, task)
        case CopyKeys():
            return copy_keys(volume, task)
        case ImportChunks():
            return import_chunks(volume, task)
        case SearchSlices():
            return search_task(task)
