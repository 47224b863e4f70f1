"""Files that are no ordinary ones, wherever sparsec reads: an answer at once, and never a pipe's end waited for."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sparsec import files
from sparsec.cache import prune, records
from sparsec.cache.files import Cache, folder
from sparsec.codegen import tuned_files
from sparsec.diagnostics import SparsecError
from sparsec.lower.file import lower_fully
from sparsec.runtime.build_or_load import Chosen, fetch
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read


@pytest.fixture(autouse=True)
def _at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever waits is woken with an error."""
    monkeypatch.setenv("SPARSEC_CACHE", str(tmp_path / "cache"))

    def late(*_: object) -> None:
        raise AssertionError("waits for a file")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sock(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def text(path: Path) -> None:
    read(path)


def used(path: Path) -> None:
    main = path.with_name("main.spat")
    main.write_text(f'use "{path.name}"\npattern p = causal\n')
    lower_fully(parse(read(main)))


def table(path: Path) -> None:
    main = path.with_name("main.spat")
    main.write_text(f'pattern p = blocks(4, "{path.name}")\n')
    lower_fully(parse(read(main)))


def tuned(path: Path) -> None:
    tuned_files.read(path)


READERS = [text, used, table, tuned]


@pytest.mark.parametrize("make", [pipe, sock, endless, Path.mkdir])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_ordinary_file_is_refused(reader: Callable, make: Callable, tmp_path: Path) -> None:
    make(tmp_path / "odd")
    with pytest.raises(SparsecError, match="SP0701"):
        reader(tmp_path / "odd")
    assert records.file_digest(tmp_path / "odd") == ""


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_has_nothing_to_give_yet(reader: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /proc/kmsg, an ordinary file by its mode whose reading would wait for the kernel's next message."""
    path, real = tmp_path / "odd", os.read
    path.write_text("")
    wanted = path.stat().st_ino

    def waits(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_ino == wanted:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", waits)
    with pytest.raises(SparsecError, match="SP0701"):
        reader(path)
    assert records.file_digest(path) == ""


def test_a_table_that_became_a_pipe(tmp_path: Path) -> None:
    """Found in the cache before, with the table as it was."""
    main, listed = tmp_path / "p.spat", tmp_path / "t.json"
    main.write_text('pattern p = blocks(4, "t.json")\n')
    listed.write_text("[[0]]")
    os.utime(listed, (0, 0))  # written long before it is read
    assert fetch(str(main), main.read_bytes(), Chosen()).path is not None
    listed.unlink()
    os.mkfifo(listed)
    with pytest.raises(SparsecError, match="SP0701"):
        fetch(str(main), main.read_bytes(), Chosen())
    assert prune.info(Cache(folder())).stale == 1
    assert prune.prune(Cache(folder()))[0] == 1


@pytest.mark.parametrize("size", [0, 1, 10, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_all_of_a_file_or_none_of_it(size: int, tmp_path: Path) -> None:
    path, data = tmp_path / "some", os.urandom(size)
    path.write_bytes(data)
    assert files.read(path, size) == files.read(path, size + 1) == data
    assert size == 0 or files.read(path, size - 1) is None


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave it alone within quotes, and configuration files know no shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPARSEC_CACHE", "~/kept")
    monkeypatch.setenv("SPARSEC_TUNED", "~/tuned.json")
    assert folder() == tmp_path / "kept"
    assert tuned_files.own_path() == tmp_path / "tuned.json"
