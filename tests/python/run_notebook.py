"""Installs the wheel in a new environment, and runs a notebook there: run_notebook.py NOTEBOOK FOLDER.

torch and the notebook's own packages are those of the Python that runs this: the new environment sees them through a .pth
file, so that nothing is fetched. RETORT_PREFIX is the tree that the wheel is made of.
"""

import os
import pathlib
import subprocess
import sys
import sysconfig

notebook, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
repository = notebook.resolve().parents[3]
environment = folder / "environment"
subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
python = environment / "bin/python"
site = next(environment.glob("lib/python*/site-packages"))
(site / "packages_of_the_tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
# pip copies a folder that it builds: the program that builds the wheel is called as pip calls it.
subprocess.run([str(python), str(repository / "sdk/python/wheel_of_tree.py"), str(folder)], check=True)
(wheel,) = folder.glob("*.whl")
subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
where = subprocess.run([str(python), "-c", "import retort; print(retort.__file__)"], check=True, capture_output=True, text=True, cwd=folder)
if not where.stdout.startswith(str(environment)):
    raise SystemExit(f"retort was imported from {where.stdout.strip()}, not from the new environment")

program = """
import os, pathlib, sys
import nbclient, nbformat
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(book, pathlib.Path(sys.argv[2]) / pathlib.Path(sys.argv[1]).name)
"""
kernels = environment / "share/jupyter/kernels/python3"
kernels.mkdir(parents=True, exist_ok=True)
(kernels / "kernel.json").write_text(
    f'{{"argv": ["{python}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"], "display_name": "Python 3", "language": "python"}}'
)
subprocess.run(
    [str(python), "-c", program, str(notebook), str(folder)],
    check=True,
    env={**os.environ, "RETORT_CONFIG": str(repository / "configs/mixture.toml"), "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
)
