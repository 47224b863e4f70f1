"""A text and what it is compiled for -> its generated module: from the cache, else through the compiler."""

from __future__ import annotations

import json
import operator
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import SupportsIndex, TypeVar

from sparsec.cache import records
from sparsec.cache.files import Cache, Refused, Unusable, folder
from sparsec.cache.records import Record
from sparsec.codegen import tuned_files

_CLOCK_STEP = 20_000_000  # nanoseconds by which a file system's clock may be behind
_told: set[str] = set()  # remarks on the cache are made once a process

Value = TypeVar("Value")


@dataclass(frozen=True)
class Chosen:
    """What a text is compiled for."""

    pattern: str | None = None
    heads: int | None = None
    layer: int | None = None
    layers: int | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, object] | None:
        """For the key, integers of any kind as int; None for what the compiler will refuse."""
        try:
            counts = [None if count is None else _whole(count) for count in (self.heads, self.layer, self.layers)]
            bound = {name: _whole(value) for name, value in self.parameters.items()}
        except TypeError:
            return None
        named = all(isinstance(name, str) for name in (self.pattern or "", *bound))
        return {"pattern": self.pattern, "counts": counts, "bound": bound} if named else None


def _whole(value: SupportsIndex) -> int:
    number = operator.index(value)
    if isinstance(value, bool) or abs(number) >> 63:
        raise TypeError("not a number that the compiler takes")
    return number


@dataclass(frozen=True)
class Found:
    """A module's text, its record, the file that holds it (None: in memory only), and remarks on the cache."""

    record: Record
    text: str
    path: Path | None
    remarks: tuple[str, ...]


def fetch(name: str, content: str | bytes | None, chosen: Chosen) -> Found:
    """The module of a text: bytes of the file `name`, a string, or None for a file that could not be read.

    SparsecError with every error of the text, or of the user's tuned settings.
    """
    plain, own = chosen.plain(), tuned_files.read(tuned_files.own_path())
    if content is None or plain is None:
        record, text, _ = _compile(name, content, chosen, "", own)
        return Found(record, text, None, ())
    key, keeper = records.key(name, content, plain, own), _Keeper()
    if hit := keeper.find(key):
        return Found(*hit, keeper.remarks())
    record, text, lasting = _compile(name, content, chosen, key, own)
    path = keeper.keep(record, text) if lasting else None
    return Found(record, text, path, keeper.remarks())


def fetch_steps(record: Record) -> Found:
    """The module that decodes the pattern of a record: made when it is first asked for, and kept as others are."""
    name = records.module_name(record.function, record.digest)
    key, keeper = records.key(name, json.dumps(record.pattern), {"steps": True}, b""), _Keeper()
    if hit := keeper.find(key):
        return Found(*hit, keeper.remarks())
    from sparsec import pipeline
    from sparsec.ir.nodes import Pattern
    from sparsec.ir.serialize import unpack

    pattern = unpack(record.pattern)
    assert isinstance(pattern, Pattern)
    text = pipeline.steps(pattern)
    digest = records.digest(text.encode())
    module = records.module_name(f"{record.function}_steps", digest)
    made = replace(record, key=key, made_by=records.own_code(), module=module, digest=digest, warnings=(), files=())
    return Found(made, text, keeper.keep(made, text), keeper.remarks())


class _Keeper:
    """The cache as far as it can be used; what is wrong with it becomes remarks, never an error."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.store = self._try(lambda: Cache(folder()))

    def find(self, key: str) -> tuple[Record, str, Path] | None:
        store = self.store
        return self._try(lambda: records.find(store, key)) if store else None

    def keep(self, record: Record, text: str) -> Path | None:
        store = self.store
        return self._try(lambda: records.keep(store, record, text)) if store else None

    def remarks(self) -> tuple[str, ...]:
        """What has not been said in this process."""
        fresh = [problem for problem in self.problems if problem not in _told]
        _told.update(fresh)
        return tuple(dict.fromkeys(fresh))

    def _try(self, step: Callable[[], Value]) -> Value | None:
        try:
            return step()
        except Refused as error:  # rebuilt: writing puts a new entry in its place
            self.problems.append(str(error.diagnostic))
        except Unusable as error:
            self.problems.append(str(error.diagnostic))
            self.store = None
        return None


def _compile(name: str, content: str | bytes | None, chosen: Chosen, key: str, own: bytes) -> tuple[Record, str, bool]:
    """Record, text, and whether they may be kept: not when a file changed while it was being read."""
    from sparsec import pipeline  # the parser, the set library, the templates
    from sparsec.ir.serialize import pack
    from sparsec.syntax.read import decode, read, with_line_ends

    start = time.time_ns()
    source = (
        read(name)
        if content is None
        else decode(name, content)
        if isinstance(content, bytes)
        else with_line_ends(name, content)
    )
    made = pipeline.compile(source, **vars(chosen), tuned=tuned_files.known(own))
    function, digest = made.function, records.digest(made.source.encode())
    files = tuple((str(path), records.file_digest(path)) for path in made.files)
    record = Record(
        key=key,
        made_by=records.own_code(),
        module=records.module_name(function, digest),
        digest=digest,
        function=function,
        pattern=pack(made.pattern),
        warnings=tuple(map(str, made.warnings)),
        files=files,
    )
    return record, made.source, all(_settled(path, start) for path in made.files)


def _settled(path: Path, start: int) -> bool:
    try:
        return os.stat(path).st_mtime_ns < start - _CLOCK_STEP
    except OSError:
        return False
