"""Runs the notebooks of examples/ in a new folder and writes their outputs anew, so that a diff shows what has changed.

python docs/notebooks.py
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SECONDS = 300  # that a cell may take
FIRST = "import warnings; warnings.simplefilter('error')"
LAST = "warnings.simplefilter('ignore')"  # the kernel itself warns when it is stopped


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook run in a folder that holds the examples, warnings being errors. Raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    own = notebook.cells
    notebook.cells = [nbformat.v4.new_code_cell(FIRST), *own, nbformat.v4.new_code_cell(LAST)]
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=where)
    client.execute()
    notebook.cells = own
    return cleaned(notebook)


def cleaned(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without times and versions; cells are named and counted by their place."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    run = 0
    for place, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{place}", {}
        if cell.cell_type == "code":
            cell.execution_count = run = run + 1
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata = {}
                if output.output_type == "execute_result":
                    output.execution_count = run
    return notebook


if __name__ == "__main__":
    for path in NOTEBOOKS:
        with TemporaryDirectory() as name:
            folder = Path(name) / "examples"
            shutil.copytree(EXAMPLES, folder)
            nbformat.write(executed(path, folder), path)
