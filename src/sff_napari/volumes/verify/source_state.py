"""Check whether a volume still holds what a result was made from."""

from __future__ import annotations

from pathlib import Path

from sff_napari.errors import InputError
from sff_napari.stacks import Stack
from sff_napari.stacks.fingerprint import changed_slices, part_reader, slice_digest
from sff_napari.volumes.run.folder import Folder
from sff_napari.volumes.run.restored_volume import PLAN, read_plan
from sff_napari.volumes.verify import records


def changed_since(root: Path, stack: Stack) -> list[int]:
    """Return the slices of a stack that differ from what a result, perhaps unfinished, came from.

    Parameters
    ----------
    root : Path
        The result.
    stack : Stack
        What it was made from, as it is now.

    Raises
    ------
    StackError
        If the record of the result is damaged.
    """
    plan = read_plan(root)
    changed = set(changed_slices(stack, plan["source"].get("fingerprint")) or ())
    shape, read = stack.shape[1:], part_reader(stack)
    for record in records.read_slices(Folder(root)).values():
        for z, value in record.get("inputs", {}).items():
            if int(z) < len(stack) and int(z) not in changed:
                now = slice_digest(read, int(z), shape)
                if now is not None and now != value:
                    changed.add(int(z))
    return sorted(changed)


def check_unchanged(target: Path, stack: Stack) -> None:
    """Check that a stack still holds what a result was made from.

    Parameters
    ----------
    target : Path
        The result; anything else passes.
    stack : Stack
        The stack that it was made from.

    Raises
    ------
    InputError
        If it does not.
    StackError
        If the record of the result is damaged.
    """
    if not (target / PLAN).exists():
        return
    changed = changed_since(target, stack)
    if changed:
        raise InputError(
            f"{target} was made from {stack.name} as it was before its pixels changed "
            f"(slice {changed[0]}{' and others' if len(changed) > 1 else ''}): "
            "choose another name, or ask for it to be overwritten."
        )
