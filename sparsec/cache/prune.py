"""What the cache holds, and what of it can go.  Safe while other processes use it: they rebuild what they miss."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparsec.cache.files import INDEX, MODULES, PARSER, Cache, Refused, Unusable
from sparsec.cache.records import Record, current, own_code, parse

_HOUR, _DAY = 3600, 86400
UNUSED_DAYS = 30


@dataclass(frozen=True)
class Info:
    """records: what was asked for; modules: what was generated for it; stale: records that no call finds any more."""

    folder: str
    records: int
    modules: int
    stale: int
    bytes: int


def info(store: Cache) -> Info:
    """Counts and size of the cache.  Raises Unusable, as the functions below do."""
    files = [*_files(store, INDEX), *_files(store, MODULES)]
    records = [_record(store, path) for path, _ in files if path.suffix == ".json"]
    return Info(
        folder=str(store.root),
        records=len(records),
        modules=sum(path.suffix == ".py" for path, _ in files),
        stale=sum(record is None or not _usable(record) for record in records),
        bytes=sum(found.st_size for _, found in [*files, *_files(store, PARSER)]),
    )


def clear(store: Cache) -> tuple[int, int]:
    """Remove everything; the number of files and of bytes that went."""
    return _remove([each for kind in (INDEX, MODULES, PARSER) for each in _files(store, kind)])


def prune(store: Cache) -> tuple[int, int]:
    """Remove what no call finds any more, what was not used for UNUSED_DAYS, and what killed processes left behind.

    Modules without a record and temporary files stay for an hour: a process may be about to use them.
    """
    now = time.time()
    gone, named = [], set()
    for path, found in _files(store, INDEX):
        record = _record(store, path) if path.suffix == ".json" else None
        if record and _usable(record) and now - found.st_mtime < UNUSED_DAYS * _DAY:
            named.add(f"{record.module}.py")
        elif path.suffix == ".json" or now - found.st_mtime > _HOUR:
            gone.append((path, found))
    for path, found in _files(store, MODULES):
        if path.name not in named and now - found.st_mtime > _HOUR:
            gone.append((path, found))
    for path, found in _files(store, PARSER):
        if now - found.st_mtime > (UNUSED_DAYS * _DAY if path.suffix == ".tables" else _HOUR):
            gone.append((path, found))
    return _remove(gone)


def _usable(record: Record) -> bool:
    return record.made_by == own_code() and current(record)


def _record(store: Cache, path: Path) -> Record | None:
    try:
        return parse(store.read(INDEX, path.name))
    except Refused:
        return None


def _files(store: Cache, kind: str) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of one kind, links themselves and not what they point to; never anything in folders below."""
    try:
        with os.scandir(store.root / kind) as items:
            for item in items:
                with suppress(FileNotFoundError):  # another process was faster
                    found = item.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(found.st_mode):
                        yield Path(item.path), found
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unusable(store.root, (error.strerror or str(error)).lower()) from None


def _remove(files: list[tuple[Path, os.stat_result]]) -> tuple[int, int]:
    count = size = 0
    for path, found in files:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unusable(path.parent, (error.strerror or str(error)).lower()) from None
        count, size = count + 1, size + found.st_size
    return count, size
