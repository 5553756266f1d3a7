"""The wheel is whole: what the package reads at run time travels with it, and the command works from it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("*.whl")
    return built


def test_every_file_of_the_package_is_in_it(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    source = ROOT / "src"
    files = {str(f.relative_to(source)) for f in (source / "oneway").rglob("*") if f.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= packed


def test_the_command_works_from_it(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, text=True)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def oneway(*arguments: str) -> str:
        command = [sys.executable, "-m", "oneway.cli", *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
        ).stdout

    where = [sys.executable, "-c", "import oneway; print(oneway.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True, env=environment).stdout
    assert Path(found.strip()).is_relative_to(site)
    small = ["--layers", "1", "--width", "16", "--heads", "2", "--steps", "3"]
    oneway("train", "--facts", "parents", "--out", "model", *small)
    oneway("audit", "--model", "model", "--facts", "parents", "--candidates", "5", "--out", "found")
    assert (tmp_path / "found" / "report.html").stat().st_size > 1_000_000
