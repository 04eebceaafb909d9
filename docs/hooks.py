"""MkDocs hooks: the notebook as a page, and a warning about assets from other hosts (an error in a strict build)."""

import logging
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

EXTERNAL_ASSET = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
log = logging.getLogger("mkdocs.hooks.noduleclip")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each notebook by a page with its cells and their committed outputs."""
    for notebook in [file for file in files if file.src_path.endswith(".ipynb")]:
        page = Path(notebook.src_path).with_suffix(".md")
        text, resources = MarkdownExporter().from_filename(notebook.abs_src_path)
        files.remove(notebook)
        files.append(File.generated(config, page.as_posix(), content=text))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, (page.parent / name).as_posix(), content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links to notebooks at their pages."""
    return re.sub(r"\]\(([\w./-]+)\.ipynb\)", r"](\1.md)", markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn about assets that a browser would load from another host."""
    for tag in EXTERNAL_ASSET.findall(output):
        log.warning("%s loads from another host: %s", page.file.src_path, tag)
    return output
