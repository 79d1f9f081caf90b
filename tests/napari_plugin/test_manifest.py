"""What napari sees before anybody opens the plugin."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.resources import files

import pytest
from npe2 import PluginManager, PluginManifest

from sff_napari.napari_plugin.settings import DEFAULTS, LAYER_KEYS, initial_form, read_settings


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(str(files("sff_napari") / "napari.yaml"))


def test_every_command_leads_to_something_callable(manifest):
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(import_module(module), name))


def test_npe2_finds_it_valid():
    done = subprocess.run(
        [sys.executable, "-m", "npe2", "validate", str(files("sff_napari") / "napari.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_menus(manifest):
    menus = manifest.contributions.menus
    assert [item.command for item in menus["napari/layers/filter"]] == ["sff-napari.restoration"]
    assert [item.command for item in menus["napari/layers/annotate"]] == ["sff-napari.new_lines"]


def test_settings_of_the_manifest_are_those_of_the_code(manifest):
    properties = manifest.contributions.configurations["restoration"].properties
    assert {name: item.default for name, item in properties.items()} == DEFAULTS
    assert set(LAYER_KEYS.values()) <= set(DEFAULTS)


def test_settings_reach_the_form():
    values = {
        **DEFAULTS,
        "device": "cpu",
        "max_folds": 3,
        "show_flow": False,
        "show_reference": True,
        "skip_damaged": False,
    }
    form = initial_form(values)
    assert (form.device, form.max_folds, form.skip_damaged) == ("cpu", 3, False)
    assert form.show == ("synthesised", "reference")
    assert set(read_settings()) == set(DEFAULTS)


def test_napari_starts_without_torch_and_cv2():
    code = (
        "import sys, napari\n"
        "from npe2 import PluginManager\n"
        "viewer = napari.Viewer(show=False)\n"
        "pm = PluginManager.instance(); pm.discover()\n"
        "assert 'sff-napari' in list(pm.iter_manifests.__self__._manifests), 'not installed'\n"
        "heavy = sorted({'torch', 'cv2'} & set(sys.modules))\n"
        "print('HEAVY', heavy, flush=True)\n"
        "viewer.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr[-2000:]


def test_napari_finds_the_sample():
    manager = PluginManager.instance()
    manager.discover()
    samples = dict(manager.iter_sample_data())
    assert [item.key for item in samples["sff-napari"]] == ["folded_stack"]
