"""The parser of `grammar/spat.lark`.  Lark makes its tables, which takes longer than all else that `sparsec check`
does, so they are kept in the user's cache.
"""

from __future__ import annotations

import marshal
import sys
import zlib
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from sparsec import resources
from sparsec.cache.files import PARSER, Cache, Refused, Unusable, folder
from sparsec.syntax.lalr import Grammar, Tables

if TYPE_CHECKING:
    from lark.grammar import Rule

_FORMAT = 1  # of the tables; another number for another meaning


@cache
def grammar() -> Grammar:
    """The parser, from tables that are kept or made.  A cache that cannot be used costs time only."""
    text = resources.text("grammar/spat.lark")
    made_for = (text, _FORMAT, sys.implementation.cache_tag, marshal.version)
    name = f"{zlib.crc32(repr(made_for).encode()):08x}.tables"
    tables = _kept(name, made_for)
    if tables is None:
        tables = _made(text)
        _keep(name, made_for, tables)
    return Grammar(tables)


def _kept(name: str, made_for: tuple[str | int | None, ...]) -> Tables | None:
    with suppress(Unusable, Refused):
        store = Cache(folder())
        data = store.read(PARSER, name)
        if data and data[:4] == _seal(data[4:]):
            found, tables = marshal.loads(data[4:])
            if found == made_for:
                store.touch(PARSER, name)
                return Tables(*tables)
    return None


def _keep(name: str, made_for: tuple[str | int | None, ...], tables: Tables) -> None:
    with suppress(Unusable, Refused):
        data = marshal.dumps((made_for, tuple(tables)))
        Cache(folder()).write(PARSER, name, _seal(data) + data)


def _seal(tables: bytes) -> bytes:
    """What damaged tables do not have."""
    return zlib.crc32(tables).to_bytes(4, "big")


def _made(text: str) -> Tables:
    """The tables that Lark makes of a grammar."""
    from lark import Lark
    from lark.parsers.lalr_analysis import Shift

    made = Lark(text, start="file", parser="lalr", lexer="basic", keep_all_tokens=True, maybe_placeholders=True)
    table = made.parser.parser._parse_table
    found = sorted(made.terminals, key=lambda each: (-each.priority, -each.pattern.max_width, each.name))
    words = {each.pattern.value: str(each.name) for each in found if each.pattern.value.isidentifier()}
    numbers = {state: number for number, state in enumerate(table.states)}
    rules = {rule: number for number, rule in enumerate(made.rules)}
    actions: list[dict[str, int]] = []
    follows: list[dict[str, int]] = []
    for state in table.states.values():
        actions.append({})
        follows.append({})
        for name, (kind, what) in state.items():
            target = actions[-1] if name.isupper() else follows[-1]  # a terminal, or a rule
            target[str(name)] = numbers[what] if kind is Shift else -1 - rules[what]
    return Tables(
        terminals=tuple(
            (str(each.name), each.pattern.to_regexp()) for each in found if each.name not in words.values()
        ),
        words=words,
        ignored=tuple(map(str, made.ignore_tokens)),
        rules=tuple(_rule(rule) for rule in made.rules),
        actions=tuple(actions),
        follows=tuple(follows),
        start=numbers[table.start_states["file"]],
        end=numbers[table.end_states["file"]],
    )


def _rule(rule: Rule) -> tuple[object, ...]:
    """The fields of `lalr.Rule`.  Lark marks absent options by True, between a False for each symbol."""
    absent = [0]
    for option in rule.options.empty_indices or [False] * len(rule.expansion):
        if option:
            absent[-1] += 1
        else:
            absent.append(0)
    inline = (not symbol.is_term and symbol.name.startswith("_") for symbol in rule.expansion)
    children = tuple((index, each, absent[index]) for index, each in enumerate(inline))
    single = bool(rule.options.expand1 and not rule.alias)
    origin = str(rule.origin.name)
    return origin, str(rule.alias or origin), len(rule.expansion), children, absent[-1], single
