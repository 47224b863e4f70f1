"""The parser of `grammar/spat.lark`.  Building its tables takes longer than all else that a command does, so they are
kept in the user's cache.
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
from sparsec.cache import PARSER, Cache, Refused, Unusable, folder

_OPTIONS = {"start": "file", "parser": "lalr", "lexer": "basic", "keep_all_tokens": True, "maybe_placeholders": True}
_SEAL = hashlib.sha256().digest_size


@cache
def grammar() -> Lark:
    """The parser, from tables that are kept or built.  A cache that cannot be used costs time only."""
    text = resources.text("grammar/spat.lark")
    made_with = (text, _OPTIONS, lark.__version__, sys.implementation.cache_tag, marshal.version)
    name = f"{hashlib.sha256(repr(made_with).encode()).hexdigest()}.tables"
    parser = _kept(name) or _built(text, name)
    parser.lexer = parser.parser.lexer  # or every text would get a lexer of its own
    return parser


def _kept(name: str) -> Lark | None:
    with suppress(Refused, Unusable):
        if (found := Cache(folder()).read(PARSER, name)) and found[:_SEAL] == _seal(found[_SEAL:]):
            return Lark._load_from_dict(*marshal.loads(found[_SEAL:]))  # as parsers do that Lark generates
    return None


def _built(text: str, name: str) -> Lark:
    parser = Lark(text, **_OPTIONS)
    tables = marshal.dumps(parser.memo_serialize([TerminalDef, Rule]))
    with suppress(Unusable):
        Cache(folder()).write(PARSER, name, _seal(tables) + tables)
    return parser


def _seal(tables: bytes) -> bytes:
    """What damaged tables do not have."""
    return hashlib.sha256(tables).digest()
