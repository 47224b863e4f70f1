"""Files that are kept between processes, and what makes it safe to use them again.

    FOLDER/modules/NAME_DIGEST.py   generated modules, named by the SHA-256 of their text
    FOLDER/index/KEY.json           which module belongs to what was asked for (sparsec.cache.records)
    FOLDER/parser/KEY.tables        tables of the parser (sparsec.syntax.grammar)

Writing: a temporary file beside the target, fsync, rename.  A reader sees the old file, the new one or none, however
many processes write and whenever one is killed.  Reading: one descriptor, opened without following links, must be an
ordinary file of this user that nobody else may write to; its bytes are then compared with their digest or checksum.
What is run is those bytes, not the file again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparsec.diagnostics import CacheRefused, CacheUnusable, Diagnostic
from sparsec.files import contents

VARIABLE = "SPARSEC_CACHE"
MODULES, INDEX, PARSER = "modules", "index", "parser"
_LARGEST = 1 << 28  # bytes of an entry
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows, where the next two are not
_READ = os.O_RDONLY | _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # pipes must not wait
_CLOSED = stat.S_IWGRP | stat.S_IWOTH


class Unusable(Exception):
    """The cache can't be used; `diagnostic` says why."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(reason)
        self.diagnostic: Diagnostic = CacheUnusable(folder=str(folder), reason=reason)


class Refused(Exception):
    """An entry is not trusted; `diagnostic` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.diagnostic: Diagnostic = CacheRefused(entry=str(path), reason=reason)


def folder() -> Path:
    """Where the cache is: SPARSEC_CACHE, or `sparsec` in the user's folder of caches.  Raises Unusable."""
    if chosen := os.environ.get(VARIABLE):
        if not _knows_owners():
            raise Unusable(Path(chosen), f"this system does not say whose it is; without {VARIABLE} your own is used")
        try:
            return Path(os.path.expanduser(chosen)).absolute()
        except OSError as error:  # the working folder is gone
            raise Unusable(Path(chosen), _reason(error)) from None
    from platformdirs import user_cache_path

    try:
        return user_cache_path("sparsec", appauthor=False).resolve()
    except (RuntimeError, OSError):  # a user without a home; links in a circle
        raise Unusable(Path("~/.cache/sparsec"), "there is no such folder") from None


@dataclass(frozen=True)
class Cache:
    """The files under one folder.  Methods raise Unusable when the folder can't be used."""

    root: Path

    def path(self, kind: str, name: str) -> Path:
        return self.root / kind / name

    def read(self, kind: str, name: str) -> bytes | None:
        """What an entry holds; None when there is none.  Raises Refused for one that is not trusted."""
        path = self.path(kind, name)
        try:
            self._trust(path.parent)
            descriptor = os.open(path, _READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            if problem := _refusal(path):
                raise Refused(path, problem) from None
            raise Unusable(self.root, _reason(error)) from None
        try:
            if problem := _distrust(os.fstat(descriptor), stat.S_ISREG):
                raise Refused(path, problem)
            return contents(descriptor, _LARGEST)
        except OSError as error:
            raise Unusable(self.root, _reason(error)) from None
        finally:
            os.close(descriptor)

    def write(self, kind: str, name: str, data: bytes) -> Path:
        """Put an entry in place of whatever has its name; returns its path."""
        path = self.path(kind, name)
        try:
            self._make(path.parent)
            self._trust(path.parent)
            replace(path, data, 0o600)
        except OSError as error:
            raise Unusable(self.root, _reason(error)) from None
        return path

    def touch(self, kind: str, name: str) -> None:
        """Note that an entry was used, for `prune`; not worth a message when that fails."""
        with suppress(OSError):
            os.utime(self.path(kind, name))

    def _make(self, below: Path) -> None:
        self.root.parent.mkdir(parents=True, exist_ok=True)
        for each in (self.root, below):
            with suppress(FileExistsError):
                each.mkdir(mode=0o700)

    def _trust(self, below: Path) -> None:
        """Folders that others may write to could change under us.  FileNotFoundError when there are none."""
        for each in (self.root, below):
            if problem := _distrust(os.stat(each), stat.S_ISDIR):
                raise Unusable(each, problem)
            if each.is_symlink() and _knows_owners() and os.lstat(each).st_uid not in (0, os.geteuid()):
                raise Unusable(each, "it is a symbolic link of another user")


def _knows_owners() -> bool:
    """Not on Windows, where the user's own folder of caches is closed to others, and no other is used."""
    return hasattr(os, "geteuid")


def _refusal(path: Path) -> str:
    """Why a file that can't be opened would not be trusted anyway, or nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    return "it is a symbolic link" if stat.S_ISLNK(found.st_mode) else _distrust(found, stat.S_ISREG)


def _distrust(found: os.stat_result, wanted: Callable[[int], bool]) -> str:
    """Why a file or folder is not to be trusted, or nothing."""
    if not wanted(found.st_mode):
        return "it is not a folder" if wanted is stat.S_ISDIR else "it is not an ordinary file"
    if not _knows_owners():
        return ""
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    if found.st_mode & _CLOSED:
        return "others may write to it"
    return ""


def replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file in one step: after this, or after a crash within it, `path` is whole.  OSError where it can't be."""
    temporary = path.with_name(f".{os.urandom(8).hex()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)  # O_EXCL follows no link
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
