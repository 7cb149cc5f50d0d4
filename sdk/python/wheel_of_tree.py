"""Builds the wheel `retort`: the tree that CMake installs, without LibTorch, which is the user's torch.

`pip install ./sdk/python` calls it. The tree is built by the wrapper, or is RETORT_PREFIX, one that is installed. The
wheel is for the Python that builds it, and for torch of the version that the tree was built with.
"""

import base64
import hashlib
import os
import pathlib
import re
import stat
import subprocess
import sys
import sysconfig
import tempfile
import zipfile

here = pathlib.Path(__file__).resolve().parent
wrapper = here.parent.parent / "retort"

# What of a tree a Python process needs: it brings LibTorch itself, and has no use for the program.
wanted = re.compile(r"^lib/(libretort[^/]*\.so|libdnnl\.so\.\d+)$|^lib/retort/plugins/.*\.so$|^share/retort/")


def installed(prefix: pathlib.Path) -> pathlib.Path:
    """The tree to pack: RETORT_PREFIX, or one that the wrapper installs to `prefix`."""
    given = os.environ.get("RETORT_PREFIX")
    if given:
        return pathlib.Path(given)
    if not wrapper.exists():
        raise SystemExit("retort: there is no source tree here to build; expected RETORT_PREFIX, an installed tree")
    subprocess.run([str(wrapper), "build"], check=True, stdout=sys.stderr)
    build = wrapper.parent / "build/release"
    command = ["cmake", "--install", str(build), "--prefix", str(prefix), "--component", "Unspecified"]  # without LibTorch
    subprocess.run(command, check=True, stdout=sys.stderr)
    return prefix


def built_with(tree: pathlib.Path) -> tuple[str, str]:
    """Versions of Retort and of the torch that a tree was built with."""
    package = tree / "lib/python/retort"
    if not any(package.glob("_native*.so")):
        raise SystemExit(f"retort: {tree} has no Python package; expected a build that found Python's headers (python3-dev)")
    torch = re.search(r'TORCH = "([^"]+)"', (package / "_built_with.py").read_text()).group(1)
    version = (tree / "lib/cmake/Retort/RetortConfigVersion.cmake").read_text()
    return re.search(r'PACKAGE_VERSION "([^"]+)"', version).group(1), torch


def metadata(version: str, torch: str) -> str:
    minor = ".".join(torch.split(".")[:2])
    return "\n".join([
        "Metadata-Version: 2.1", "Name: retort", f"Version: {version}",
        "Summary: Distils diffusion models into few-step models", "Requires-Python: >=3.11",
        f"Requires-Dist: torch=={minor}.*", "Requires-Dist: tqdm", "Provides-Extra: notebook",
        'Requires-Dist: pandas; extra == "notebook"', 'Requires-Dist: matplotlib; extra == "notebook"',
        'Requires-Dist: jupyter; extra == "notebook"', "Description-Content-Type: text/markdown", "",
        (here / "README.md").read_text(encoding="utf-8"),
    ])  # fmt: skip


def tag() -> str:
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def files(tree: pathlib.Path):
    """Path in the wheel, and file, of all that goes in: the package, and beside its modules the tree that it works with."""
    for path in sorted((tree / "lib/python/retort").glob("*")):
        if path.is_file() and path.suffix != ".pyc":
            yield f"retort/{path.name}", path
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_file() and wanted.match(name):
            yield f"retort/tree/{name}", path


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    pathlib.Path(wheel_directory).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = installed(pathlib.Path(folder) / "tree")
        version, torch = built_with(tree)
        info = f"retort-{version}.dist-info"
        name = f"retort-{version}-{tag()}.whl"
        record = []
        with zipfile.ZipFile(pathlib.Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as wheel:

            def put(path: str, data: bytes, mode: int = 0o644) -> None:
                entry = zipfile.ZipInfo(path)
                entry.external_attr = (stat.S_IFREG | mode) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                wheel.writestr(entry, data)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                record.append(f"{path},sha256={digest},{len(data)}")

            for path, file in files(tree):
                put(path, file.read_bytes(), 0o755 if os.access(file, os.X_OK) else 0o644)
            put(f"{info}/METADATA", metadata(version, torch).encode())
            put(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: retort\nRoot-Is-Purelib: false\nTag: {tag()}\n".encode())
            wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return name


if __name__ == "__main__":
    print(build_wheel(sys.argv[1] if len(sys.argv) > 1 else "."))
