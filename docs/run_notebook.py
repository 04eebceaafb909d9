"""Execute the notebooks of docs/notebooks in an empty folder and keep their outputs: `nox -s notebook`."""

import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parent / "notebooks"


def run(path: Path) -> None:
    """Execute a notebook and write it back with its outputs and a copy of the code that made them."""
    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings of libraries, with paths of this machine
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        cell.metadata = {"executed_source": cell.source} if cell.cell_type == "code" else {}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        run(path)
        print(path)
