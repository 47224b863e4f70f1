"""The cache: what is kept, when it is found again, and what is never run.  No torch here: only texts are fetched."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from sparsec.cache import prune, records
from sparsec.cache.files import Cache, Unusable, folder
from sparsec.runtime import build_or_load
from sparsec.runtime.build_or_load import Chosen, Found, fetch

TEXT = "pattern p(w = 8) = past(w)\n"
EVIL = b"raise SystemExit('damaged code was run')\n"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, in a process that has made no remark on it yet."""
    monkeypatch.setenv("SPARSEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build_or_load, "_told", set())
    return tmp_path / "cache"


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the texts that went through the compiler."""
    names, compiler = [], build_or_load._compile

    def counted(name: str, *rest: object):
        names.append(name)
        return compiler(name, *rest)

    monkeypatch.setattr(build_or_load, "_compile", counted)
    return names


def get(text: str | bytes = TEXT, name: str = "p.spat", **chosen: object) -> Found:
    return fetch(name, text, Chosen(**chosen))


def only(folder: Path) -> Path:
    [path] = folder.iterdir()
    return path


# ---------------------------------------------------------------- keeping and finding


def test_the_second_time_nothing_is_compiled(root: Path, compiles: list[str]) -> None:
    first, second = get(), get()
    assert compiles == ["p.spat"]
    assert (first.record, first.text, first.path) == (second.record, second.text, second.path)
    assert first.path == only(root / "modules")
    assert first.path.read_text() == first.text
    assert first.remarks == second.remarks == ()


def test_permissions_are_private(root: Path) -> None:
    before = os.umask(0)
    try:
        get()
    finally:
        os.umask(before)
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_all_that_decides_the_text_is_in_the_key(compiles: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [
        lambda: get(),
        lambda: get(parameters={"w": 9}),
        lambda: get(heads=2),
        lambda: get(layer=1),
        lambda: get(layers=2, layer=1),
        lambda: get(pattern="p"),
        lambda: get(TEXT + "# "),
        lambda: get(name="q.spat"),
    ]
    for call in calls:
        call()
    assert len(compiles) == len(calls)
    for call in calls:
        call()
    assert len(compiles) == len(calls)
    for name in ("own_code", "environment"):
        monkeypatch.setattr(records, name, lambda: "another")
        calls[0]()
    assert len(compiles) == len(calls) + 2


def test_equal_texts_share_a_module(root: Path) -> None:
    assert get().path == get(name="other.spat").path
    assert len(list((root / "index").iterdir())) == 2


def test_integers_of_any_kind_are_the_same(compiles: list[str]) -> None:
    import numpy as np

    get(parameters={"w": 9})
    get(parameters={"w": np.int64(9)})
    assert len(compiles) == 1


def old(path: Path, text: str) -> None:
    """Write a file that has not changed for a minute."""
    path.write_text(text)
    os.utime(path, (path.stat().st_atime - 60, path.stat().st_mtime - 60))


@pytest.mark.parametrize(
    ("text", "name", "contents"),
    [
        ('use "other.spat"\npattern p = mine', "other.spat", ("set mine = past(4)", "set mine = past(5)")),
        ('pattern p = blocks(4, "t.json") | causal', "t.json", ("[[0]]", "[[1]]")),
    ],
)
def test_used_files_count(text: str, name: str, contents: tuple[str, str], tmp_path: Path, monkeypatch) -> None:
    """Fakes the last stage: what matters here is what is looked up again."""
    made: list[str] = []
    emit = build_or_load.records.digest
    monkeypatch.setattr(
        "sparsec.pipeline.emit", lambda plan, notes, *_: made.append(notes) or f"# {emit(repr(plan.pattern).encode())}"
    )
    source = str(tmp_path / "p.spat")
    old(tmp_path / name, contents[0])
    first = get(text, source)
    assert first.record.files == ((str(tmp_path / name), records.digest(contents[0].encode())),)
    assert get(text, source).text == first.text
    assert len(made) == 1
    old(tmp_path / name, contents[1])
    assert get(text, source).text != first.text
    (tmp_path / name).write_text(contents[0])  # changed just now: it may change again in the same instant
    assert get(text, source).text == first.text
    assert len(made) == 3


# ---------------------------------------------------------------- what is never run


def test_a_damaged_module_is_rebuilt(root: Path, compiles: list[str]) -> None:
    good = get()
    for damage in (EVIL, b"", good.text.encode()[:-1], b"\xff\xfe", good.text.encode() + b"#"):
        good.path.write_bytes(damage)
        assert get().text == good.text
        assert good.path.read_text() == good.text
    assert len(compiles) == 6


def test_a_damaged_record_is_rebuilt(root: Path) -> None:
    good = get()
    path = only(root / "index")
    data = path.read_bytes()
    for damage in (b"", data[:-1], data.replace(b'"p"', b'"q"'), b"{}", b"\xff", records.render(good.record)[::-1]):
        path.write_bytes(damage)
        again = get()
        assert (again.text, again.record) == (good.text, good.record)
        assert path.read_bytes() == data


def test_a_record_under_another_key_is_not_believed(root: Path) -> None:
    get(parameters={"w": 4})
    wrong = only(root / "index")
    good = get()
    [right] = set((root / "index").iterdir()) - {wrong}
    right.write_bytes(wrong.read_bytes())
    assert get().text == good.text


def refusals(change, entry: str, root: Path) -> str:
    """What is said after `change` was done to an entry; the operator is right, and nothing is said the next time."""
    good = get()
    path = only(root / entry)
    change(path)
    again = get()
    assert again.text == good.text
    assert get().remarks == ()
    found = os.lstat(path)
    assert stat.S_ISREG(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    [remark] = again.remarks
    return remark


def link(path: Path) -> None:
    evil = path.parent.parent / "evil"
    evil.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(evil)


@pytest.mark.parametrize("entry", ["modules", "index"])
def test_entries_that_others_could_have_made_are_refused(entry: str, root: Path) -> None:
    for bits in (0o602, 0o620):
        build_or_load._told.clear()
        assert "others may write to it" in refusals(lambda path, bits=bits: path.chmod(bits), entry, root)
    assert "SP0704" in refusals(link, entry, root)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def sock(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):  # such names are short
        made.bind(path.name)


@pytest.mark.parametrize("make", [fifo, sock])
def test_pipes_and_sockets_are_refused_at_once(make, root: Path) -> None:
    assert "not an ordinary file" in refusals(make, "modules", root)


def test_a_foreign_entry_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = get()
    real = os.fstat

    def foreign(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[stat.ST_UID] += 1
        return os.stat_result(found)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", foreign)
        again = get()
    assert again.text == good.text
    assert "warning[SP0704]" in again.remarks[0]
    assert "belongs to another user" in again.remarks[0]


def test_an_entry_that_may_not_be_opened_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private file of another user; the superuser may read all, so opening is made to fail."""
    good, real = get(), os.open
    good.path.chmod(0o602)

    def denied(path, *rest, **more) -> int:
        if path == good.path:
            raise PermissionError(errno.EACCES, "denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", denied)
    [remark] = get().remarks
    assert "SP0704" in remark
    assert stat.S_IMODE(good.path.stat().st_mode) == 0o600, "rebuilt"


def test_a_folder_that_others_may_write_to_is_not_used(root: Path, compiles: list[str]) -> None:
    good = get()
    for path in (root, root / "index", root / "modules"):
        build_or_load._told.clear()
        path.chmod(0o777)
        good.path.write_bytes(EVIL)
        again = get()
        assert (again.text, again.path) == (good.text, None)
        assert "warning[SP0703]" in again.remarks[0]
        path.chmod(0o700)
    assert len(compiles) == 4


# ---------------------------------------------------------------- where nothing can be kept


def fails(code: int):
    def call(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(
    ("function", "code"),
    [("fsync", errno.ENOSPC), ("replace", errno.EDQUOT), ("open", errno.EROFS), ("mkdir", errno.EACCES)],
)
def test_full_and_read_only_disks_give_one_remark(function: str, code: int, root: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fails(code))
        first, second = get(), get()
    assert first.text == second.text
    assert first.path is None
    [remark] = first.remarks
    assert "warning[SP0703]" in remark
    assert os.strerror(code).lower() in remark
    assert second.remarks == ()
    assert not [path for path in root.rglob("*") if path.is_file()], "nothing half written is left"
    assert get().path is not None


@pytest.mark.parametrize("place", ["/dev/null/cache", "/proc/nowhere"])
def test_folders_that_cannot_be(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEC_CACHE", place)
    found = get()
    assert found.path is None
    assert "SP0703" in found.remarks[0]


def test_without_a_home_there_is_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSEC_CACHE")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(Unusable):
        folder()


# ---------------------------------------------------------------- tidying up


def age(path: Path, seconds: float) -> None:
    found = path.stat()
    os.utime(path, (found.st_atime, found.st_mtime - seconds))


def test_info_clear_and_prune(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Cache(root)
    assert (prune.info(store).records, prune.clear(store), prune.prune(store)) == (0, (0, 0), (0, 0))
    keep, unused = get(), get(parameters={"w": 9})
    left = root / "modules" / ".1.tmp"
    left.write_text("half")
    assert (prune.info(store).records, prune.info(store).modules, prune.info(store).stale) == (2, 2, 0)
    assert prune.prune(store) == (0, 0)
    age(root / "index" / f"{unused.record.key}.json", 31 * 86400)
    for path in (root / "modules").iterdir():
        age(path, 7200)
    assert prune.prune(store)[0] == 3  # the record, its module, the temporary file
    assert get().path == keep.path == only(root / "modules")
    monkeypatch.setattr(records, "own_code", lambda: "newer")
    monkeypatch.setattr(prune, "own_code", lambda: "newer")
    assert prune.info(store).stale == 1
    assert prune.clear(store)[0] == 2
    assert not [path for path in root.rglob("*") if path.is_file()]


def test_use_keeps_an_entry_young(root: Path) -> None:
    get()
    age(only(root / "index"), 31 * 86400)
    get()
    assert prune.prune(Cache(root)) == (0, 0)


def test_clear_removes_links_and_not_what_they_point_to(root: Path, tmp_path: Path) -> None:
    get()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (root / "modules" / "link").symlink_to(precious)
    prune.clear(Cache(root))
    assert precious.read_text() == "mine"
