"""Raise errors that a user can act on.

Every error raised on purpose derives from `SffError` and carries one sentence
that says what is wrong and what to do.  The command line prints it and exits
with code 2; the viewer shows it as a notification.
"""

from __future__ import annotations


class SffError(Exception):
    """Base of every error this package raises on purpose; one clear sentence.

    See Also
    --------
    sff_napari.errors.InputError : Also a ``ValueError``.
    sff_napari.errors.StackError : Also an ``OSError``.

    Examples
    --------
    >>> import sff_napari as sff
    >>> try:
    ...     sff.Fold([(0, 0)], half_width=6)
    ... except sff.SffError as error:
    ...     print(type(error).__name__)
    FoldError
    """


class InputError(SffError, ValueError):
    """An array, number or choice that cannot be used, and why."""


class FoldError(InputError):
    """A fold line that cannot be used, and why."""


class StackError(SffError, OSError):
    """A stack or file that cannot be read or written, and why."""


class WeightsError(SffError, RuntimeError):
    """Network weights that are missing, corrupt or made for something else."""


class Cancelled(SffError):
    """The work was cancelled by the caller's ``cancelled`` callback."""

    def __init__(self, message: str = "Cancelled; nothing was changed.") -> None:
        super().__init__(message)
