"""The site of the documentation: ``sphinx-build -W --keep-going docs build/site``.

The texts stand where a reader of the repository looks for them: in ``docs``, in the rooms of the architectures and at
the top. The site is made of these files themselves, so that their links lead to the same places in both.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import lab  # noqa: E402

project = "lab"
release = lab.__version__
html_title = "lab"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "lab/**.md", "experiments/README.md", "*.md"]
exclude_patterns = [".*", "build", "conf", "data", "runs", "wandb"]  # folders that hold no texts need not be walked

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_heading_anchors = 6
html_theme = "furo"
html_extra_path = ["site/index.html"]
html_static_path = ["site"]
html_css_files = ["lab.css"]
highlight_language = "none"
copybutton_exclude = ".linenos, .gp, .go"

napoleon_use_ivar = True
autodoc_member_order = "bysource"
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
autodoc_default_options = {"members": True, "show-inheritance": True}

CONTENTS = re.compile(r"<!-- contents(?:: (\S+))? -->")
MODULES = re.compile(r"<!-- modules: (\S+) -->")
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s:#]+)\.md\)")
COMMAND = re.compile(r"^(?:python|pip|lab|torchrun|sbatch|cd|git|OMP_NUM_THREADS=\d+|\.ci/run)(?= |$)", re.MULTILINE)


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Make the tree of pages from the links of a text that stand after the mark, under the headings there.

    ``<!-- contents: PATTERN -->`` adds the pages of a pattern that have no link, ``<!-- modules: PACKAGE -->`` becomes
    the reference of each module of a package.
    """
    source[0] = MODULES.sub(lambda found: reference(found[1]), source[0])
    if mark := CONTENTS.search(source[0]):
        pages: set[str] = set()
        trees = [tree(section, pages) for section in re.split(r"^##+ ", source[0][mark.end() :], flags=re.MULTILINE)]
        here = (ROOT / name).parent
        more = [os.path.relpath(path.with_suffix(""), here) for path in sorted(here.glob(f"{mark[1]}.md"))]
        source[0] += "\n".join([*trees, tree("More\n" + "".join(f"[{page}]({page}.md)" for page in more), pages)])


def tree(section: str, pages: set[str]) -> str:
    """Return the directive for the links of a section that are not among ``pages``, and add them there."""
    lines = []
    for title, page in LINK.findall(section):
        if page not in pages:
            words = title.split()
            first = words[0].capitalize() if words[0].islower() else words[0]
            lines.append(f"{' '.join([first, *words[1:]])} <{page}>" if title != page else page)
            pages.add(page)
    head = ["", "```{toctree}", ":hidden:", f":caption: {section.splitlines()[0]}", ""]
    return "\n".join([*head, *lines, "```", ""]) if lines else ""


def reference(package: str) -> str:
    """Return a heading and the directive for each module of a package."""
    modules = sorted(path.stem for path in (ROOT / package.replace(".", "/")).glob("[a-z]*.py"))
    block = "## {0}\n\n```{{eval-rst}}\n.. automodule:: {1}.{0}\n```\n"
    return "\n".join(block.format(module, package) for module in modules)


def require_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of what ``lab`` exports and the reference lacks."""
    for name in lab.__all__:
        if f"lab.{name}" not in env.domains.python_domain.objects:
            logging.getLogger(__name__).warning("lab.%s stands nowhere in docs/reference", name)


def name_languages(app: Sphinx, doctree: nodes.document) -> None:
    """Say what indented blocks are written in, so that they are coloured: commands, or YAML."""
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") == app.config.highlight_language:
            text = block.astext()
            block["language"] = (
                "yaml" if re.match(r"# \S+\.yaml\n", text) else "bash" if COMMAND.search(text) else "none"
            )


def setup(app: Sphinx) -> None:
    """Read from the top of the repository, whatever folder the command names."""
    app.srcdir = ROOT
    app.connect("source-read", add_contents)
    app.connect("doctree-read", name_languages)
    app.connect("env-check-consistency", require_public_names)
