"""Sphinx: the pages of docs/ and the public API as one site (`make docs`)."""

from mace_core import __version__

project = "maceloop"
author = "the maceloop developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# Pages are read on the repository's site too, where links may leave docs/.
suppress_warnings = ["myst.xref_missing"]
html_theme = "furo"
html_title = "maceloop"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
