"""A small clean stack, and the command line in this process."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from sff_napari.commands import main
from sff_napari.simulation import neuropil
from sff_napari.stacks import write_stack


@pytest.fixture(scope="session")
def stack():
    return neuropil((4, 320, 320), seed=2)


@pytest.fixture(scope="session")
def larger():
    """Return a stack on which a fold leaves enough tissue to be fitted well."""
    return neuropil((3, 384, 384), seed=2)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Return a stack of small slices on disk."""
    return write_stack(
        tmp_path_factory.mktemp("small") / "small.tif", neuropil((4, 192, 192), seed=2)
    )


@pytest.fixture
def command(capsys):
    """Run ``sff-napari`` in this process."""

    def call(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return SimpleNamespace(
            code=ended.value.code or 0,
            out=printed.out,
            err=printed.err,
            json=lambda: json.loads(printed.out),
        )

    return call
