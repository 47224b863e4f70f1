"""The parser of `grammar/spat.lark`.  Building its tables takes about as long as all else that `sparsec check` does, so
they are kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
from contextlib import suppress
from functools import cache

import lark
from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

from sparsec import resources
from sparsec.cache.files import PARSER, Cache, folder

_OPTIONS = {"start": "file", "parser": "lalr", "lexer": "basic", "keep_all_tokens": True, "maybe_placeholders": True}
_SEAL = hashlib.sha256().digest_size


@cache
def grammar() -> Lark:
    """The parser, from tables that are kept or built.  A cache that cannot be used costs time only."""
    text = resources.text("grammar/spat.lark")
    made_with = (text, _OPTIONS, lark.__version__, sys.implementation.cache_tag, marshal.version)
    name = f"{hashlib.sha256(repr(made_with).encode()).hexdigest()}.tables"
    parser = _kept(name)
    if parser is None:
        parser = Lark(text, **_OPTIONS)
        _keep(parser, name)
    with suppress(AttributeError):
        parser.lexer = parser.parser.lexer  # or every text would get a lexer of its own
    return parser


def _kept(name: str) -> Lark | None:
    with suppress(Exception):  # also of Lark, whose own these tables are: another one may want to build them
        store = Cache(folder())
        if (found := store.read(PARSER, name)) and found[:_SEAL] == _seal(found[_SEAL:]):
            parser = Lark._load_from_dict(*marshal.loads(found[_SEAL:]))  # as the parsers do that Lark generates
            store.touch(PARSER, name)
            return parser
    return None


def _keep(parser: Lark, name: str) -> None:
    with suppress(Exception):
        tables = marshal.dumps(parser.memo_serialize([TerminalDef, Rule]))
        Cache(folder()).write(PARSER, name, _seal(tables) + tables)


def _seal(tables: bytes) -> bytes:
    """What damaged tables do not have."""
    return hashlib.sha256(tables).digest()
