"""How the documentation site is built: ``make docs``."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from importlib.metadata import version as version_of
from typing import Any

from docutils.nodes import SkipNode, math_block
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "sff-napari"
author = "The sff-napari developers"
copyright = author
version = release = version_of("sff-napari")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["examples"]
nitpicky = True
nitpick_ignore_regex = [
    # What the standard library documents, and what has no page of its own.
    ("py:.*", r"(OSError|ValueError|RuntimeError|Exception|object|tuple|str|int|float)"),
]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4

# Types stand in the tables of parameters, with shapes and units.
autodoc_typehints = "none"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Fences without a language hold commands and what they print.
highlight_language = "none"

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/example_",
    "abort_on_example_error": True,
    "min_reported_time": 600,
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib",),
}
suppress_warnings = ["config.cache"]

templates_path = ["_templates"]
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "sff-napari"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = html_favicon = "../src/sff_napari/icon.svg"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "sff-napari", "alt_text": "sff-napari"},
    "github_url": "https://github.com/sff-napari/sff-napari",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def _mathml(self: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers show without a script from elsewhere."""
    display = "block" if isinstance(node, math_block) else "inline"
    self.body.append(convert(node.astext(), display=display))
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Register how formulas are written."""
    app.add_html_math_renderer("mathml", (_mathml, None), (_mathml, None))
