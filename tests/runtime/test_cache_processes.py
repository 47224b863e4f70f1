"""The cache between processes: many at once, and some that are killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparsec.cache import prune, records
from sparsec.cache.files import INDEX, MODULES, Cache
from sparsec.cache.records import Record

ROOT = Path(__file__).parents[2]

# What the scripts share: entries made from a number alone, so that every process can tell right from wrong.
COMMON = """
import sys
from pathlib import Path
from sparsec.cache import records
from sparsec.cache.files import Cache
from sparsec.cache.records import Record
store = Cache(Path(sys.argv[1]))

def entry(i):
    text = f"# {i}\\n" * SIZE
    digest = records.digest(text.encode())
    return Record(str(i), "code", records.module_name("p", digest), digest, "p", [], (), ()), text
"""


def entry(i: int, size: int) -> tuple[Record, str]:
    names: dict = {"SIZE": size}
    exec(COMMON.replace("Path(sys.argv[1])", "Path('.')"), names)
    return names["entry"](i)


def start(script: str, *arguments: object, size: int = 1000, **keywords) -> subprocess.Popen:
    code = f"SIZE = {size}\n{COMMON}\n{script}"
    return subprocess.Popen([sys.executable, "-S", "-c", code, *map(str, arguments)], cwd=ROOT, **keywords)


MANY = """
import time
go = Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.002)
for i in range(4):
    record, text = entry(i)
    found = records.find(store, str(i))
    assert found is None or found[:2] == (record, text), "damaged"
    if found is None:
        records.keep(store, record, text)
    assert records.find(store, str(i))[:2] == (record, text), "lost"
print("ok")
"""


def test_64_processes_at_once(tmp_path: Path) -> None:
    root, go = tmp_path / "cache", tmp_path / "go"
    processes = [start(MANY, root, go, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(64)]
    for process in processes:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    go.touch()
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert out == "ok\n", err
    names = sorted(path.name for path in root.rglob("*") if path.is_file())
    assert len(names) == 8, names


WRITES = """
print("ready", flush=True)
while True:
    for i in range(3):
        records.keep(store, *entry(i))
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Whatever is there afterwards is whole, and what a killed process left can be removed."""
    size, chance, left = 100_000, random.Random(0), 0
    wanted = [entry(i, size) for i in range(3)]
    store = Cache(tmp_path / "cache")
    for _ in range(20):
        process = start(WRITES, store.root, size=size, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for i, (record, text) in enumerate(wanted):
            path = store.path(MODULES, f"{record.module}.py")
            assert not path.exists() or path.read_text() == text
            data = store.read(INDEX, f"{i}.json")
            assert data in (None, records.render(record))
            assert data is None or records.find(store, str(i))[:2] == (record, text), "a record comes after its module"
        left = len(list(store.root.rglob("*.tmp")))
    print(f"{left} temporary files left behind")
    for path in store.root.rglob("*.tmp"):
        os.utime(path, (0, 0))
    prune.prune(store)
    assert not list(store.root.rglob("*.tmp"))


LOAD = """
import sys
import sparsec
import torch
attend = sparsec.compile("pattern p(w = 5) = past(w) | sinks(2)", w=4)
q, k, v = torch.randn(3, 1, 2, 40, 16, generator=torch.Generator().manual_seed(0)).unbind(0)
print(attend(q, k, v).double().sum().item(), sorted({"lark", "islpy", "jinja2", "sympy"} & set(sys.modules)))
"""

KERNELS = """
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.passes.forward import forward_gpu
generated = sys.modules[attend.__reduce__()[1][1].module]
assert generated.__file__.startswith("<"), "no file"
out, _ = forward_gpu(generated._PROGRAM, Call(q, k, v, 0.25))
torch.testing.assert_close(out, attend(q, k, v))
"""


def load(root: object, code: str = LOAD, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "SPARSEC_CACHE": str(root), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_whole_processes_at_once_and_then_a_warm_one(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    outputs = [process.communicate(timeout=300) for process in [load(root) for _ in range(4)]]
    assert len({out.split()[0] for out, _ in outputs}) == 1, outputs
    out, err = load(root).communicate(timeout=300)
    number, loaded = out.split(" ", 1)
    assert number == outputs[0][0].split()[0]
    assert loaded == "[]\n", "a warm start parses nothing"
    assert err == ""
    assert len(list((root / "modules").iterdir())) == 1


def test_a_module_needs_no_file(tmp_path: Path) -> None:
    """Triton reads the lines in memory, here for its interpreter."""
    pytest.importorskip("triton")
    process = load("/dev/null/cache", LOAD + KERNELS, TRITON_INTERPRET="1")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err.count("warning[SP0703]") == 1
