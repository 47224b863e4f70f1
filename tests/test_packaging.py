"""A wheel carries all that the package reads; a checkout is never shadowed by stale copies."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def build(target: str, folder: Path) -> set[str]:
    """Names in the wheel that the project's own back end builds, "wheel" or "editable"."""
    call = f"from hatchling.build import build_{target} as build; print(build({str(folder)!r}))"
    run = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(zipfile.ZipFile(folder / run.stdout.split()[-1]).namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_a_wheel_holds_package_grammar_and_templates(wheel: set[str]) -> None:
    for folder in ("grammar", "templates"):
        files = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert files
        assert {f"sparsec/_data/{name}" for name in files if "__pycache__" not in name} <= wheel
    assert {f"sparsec/_data/examples/{path.name}" for path in (ROOT / "examples").glob("*.spat")} == {
        name for name in wheel if "/examples/" in name
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sparsec").rglob("*.py")}
    assert {name for name in modules if "/_data/" not in name} <= wheel
    assert {"sparsec/codegen/tuned.json", "sparsec/py.typed"} <= wheel


def test_a_wheel_holds_nothing_else(wheel: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel} <= {
        "sparsec",
        next(n for n in wheel if "dist-info" in n).split("/")[0],
    }
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_a_wheel_works_without_the_checkout(tmp_path: Path) -> None:
    build("wheel", tmp_path)
    [file] = tmp_path.glob("*.whl")
    zipfile.ZipFile(file).extractall(tmp_path / "site")
    (tmp_path / "p.spat").write_text("pattern p = past(4)\n")
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-m", "sparsec", "check", "p.spat"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "p.spat: ok\n"), run.stderr
    made = subprocess.run(
        [sys.executable, "-m", "sparsec", "new", "mine"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (made.returncode, (tmp_path / "mine.spat").exists()) == (0, True), made.stderr


def test_the_metadata_leads_nowhere_that_is_not_there(tmp_path: Path) -> None:
    build("wheel", tmp_path)
    [file] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        [name] = [each for each in opened.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(opened.read(name))
    links = re.findall(r"\]\(([^)]*)\)", metadata.get_payload())
    assert all(link.startswith("https://") for link in links)
    assert "`docs/tutorial.md`" in metadata.get_payload()
    required = [each for each in metadata.get_all("Requires-Dist") if "extra ==" not in each]
    assert not any(each.startswith(("torch", "triton")) for each in required)
    assert {"torch", "cpu"} <= set(metadata.get_all("Provides-Extra"))
    assert metadata.get_all("Classifier")
    assert "compiler" in metadata["Keywords"]


def test_an_editable_install_makes_no_copies(tmp_path: Path) -> None:
    assert not any(name.startswith("sparsec/") for name in build("editable", tmp_path))


def test_the_two_commands_stand_in_the_readme_and_in_ci() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    commands = [line for line in ci.splitlines() if line.startswith("pip install")]
    assert len(commands) == 2
    assert all(command in readme for command in commands)
