"""A project of three tiny notebooks in a temporary folder, for tests of study, workflow, report and cli."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import yaml

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}

NOTEBOOKS = {
    "a": ["# The source\nIt **draws** numbers.", 'study = "mini"\nvariant = "main"\nn = 3\nseed = 0\nfused = []',
          "import numpy as np\nimport pandas as pd\nfrom emolib import runs",
          'run = runs.begin(stage="draw", variant=variant, study=study, params=dict(n=n, seed=seed), upstream=fused)',
          'run.save_table("numbers", pd.DataFrame({"x": np.random.default_rng(seed).normal(size=n)}))',
          'run.finish(metrics={"n": n})'],
    "b": ["# Scale", 'study = "mini"\nvariant = "main"\nfactor = 1.0\nprotocol = "nested"\nmake_missing = True\n'
          'base_study = ""',
          "from emolib import labels, runs",  # labels: a module that its numbers would depend on
          'run = runs.begin(stage="scale", variant=variant, study=study, params=dict(factor=factor, protocol=protocol),'
          ' upstream=["draw/main"], base_study=base_study, make_missing=make_missing)',
          '(run.checkpoints / "half").write_text("way")',
          "import sys\nprint('scaling by', factor)\nsys.stderr.write('10%\\r55%\\r100%\\n')",
          "assert factor > 0, 'factor must be positive'",
          'numbers = run.upstream("draw/main").table("numbers")\nnumbers["x"] *= factor',
          'run.save_table("numbers", numbers)\nrun.finish(metrics={"sum": numbers["x"].sum()})'],
    "c": ["# Sum up", 'study = "mini"\nvariant = "main"\nof = "one"\nmake_missing = True\nbase_study = ""',
          "import pandas as pd\nimport matplotlib.pyplot as plt\nfrom emolib import runs",
          'run = runs.begin(stage="sum_up", variant=variant, study=study, params=dict(of=of, protocol="nested"),'
          ' upstream=["scale/" + of], base_study=base_study, make_missing=make_missing)',
          'value = run.upstream("scale/" + of).metrics["sum"]',
          'summary = pd.DataFrame({"variant": [of], "accuracy": [value], "accuracy_low": [value - 1],'
          ' "accuracy_high": [value + 1], "p_value": [0.0004]})\nrun.save_table("summary", summary)\nsummary',
          'figure, axes = plt.subplots(figsize=(3, 2))\naxes.plot([0, 1], [0, value])\n'
          'run.save_figure("line", figure, "A line & its <caption>.")',
          "run.finish(metrics={'accuracy': value})"],
}  # fmt: skip

STUDY = {
    "study": "mini",
    "title": "Mini <script>alert(1)</script> study",
    "description": "Does it run?",
    "seed": 7,
    "stages": {
        "draw": {"notebook": "a", "params": {"n": 4}},
        "scale": {
            "notebook": "b",
            "needs": ["draw"],
            "variants": {"one": {"factor": 1.0}, "bad": {"factor": -1.0}},
            "grids": [{"name": "x{factor}", "values": {"factor": [2.0]}}],
        },
        "sum_up": {"notebook": "c", "needs": ["scale/one"], "threads": "all"},
    },
}


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook whose first cell is prose, whose second is the parameters cell, and whose others are code."""
    notebook = nbformat.v4.new_notebook(metadata=KERNEL)
    notebook.cells = [nbformat.v4.new_markdown_cell(cells[0]), *map(nbformat.v4.new_code_cell, cells[1:])]
    notebook.cells[1].metadata["tags"] = ["parameters"]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def write_study(root: Path, content: dict | str, name: str = "mini") -> Path:
    """``params/<name>.yaml`` of the project."""
    path = root / "params" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def make_project(root: Path, monkeypatch) -> Path:
    """A project at `root` that emolib takes for the repository; returns `root`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text('[project]\nname = "emolib"\n')
    repository = Path(__file__).parents[1]
    shutil.copy(repository / "Snakefile", root / "Snakefile")
    shutil.copytree(repository / "profiles", root / "profiles", dirs_exist_ok=True)
    for name, cells in NOTEBOOKS.items():
        write_notebook(root / "notebooks" / f"{name}.ipynb", cells)
    write_study(root, STUDY)
    for name in ("EMOLIB_DATA", "EMOLIB_REPORTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMOLIB_ROOT", str(root))
    return root
