"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.command_line import Ran

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Triton decides when it is imported whether kernels are interpreted: those tests run in a process of their own, which
# tests/test_interpreter.py starts.
collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreter"]

# No deadline: the first example of a test pays for imports and compilers.
settings.register_profile("default", deadline=None, max_examples=40)
settings.register_profile("full", deadline=None, max_examples=2000)  # pytest -m full --hypothesis-profile=full
settings.load_profile("default")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch computes on one thread, as models of a few numbers go fastest."""
    import torch  # here, since most tests go without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sparsec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs the command line in this process; what it printed, where, and its status."""

    from sparsec.cli import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sparsec", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        return Ran(end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def spat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes p.spat in a fresh working folder and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> str:
        Path("p.spat").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "p.spat"

    return write


@pytest.fixture
def in_time() -> Callable[[float, float], None]:
    """in_time(seconds, aim) prints both.  Ten times the aim fails: machines that test are slow and busy.

    SPARSEC_AIMS=1 python -m pytest -n 0 asks for the aim itself.
    """
    most = 1 if os.environ.get("SPARSEC_AIMS") == "1" else 10

    def check(seconds: float, aim: float) -> None:
        print(f"{1000 * seconds:.0f} ms, the aim is {1000 * aim:.0f} ms")
        assert seconds < most * aim

    return check


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes that they start, neither find nor leave anything in the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SPARSEC_TUNED", "")
        yield
