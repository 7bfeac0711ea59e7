"""Executes cells as a notebook does."""

import nbclient
import nbformat


def execute(*cells):
    """The outputs of each cell, as the mime bundles or texts that the notebook saves."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    client = nbclient.NotebookClient(notebook, timeout=110, kernel_name="python3")
    client.execute()
    return notebook, [cell.outputs for cell in notebook.cells]
