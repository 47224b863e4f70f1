"""An LALR(1) parser that is driven by tables: text to tokens, tokens to a tree.

Lark makes the tables (`grammar.py`); this is what runs, in a fraction of the time that importing Lark takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

_NAME, _END = "NAME", "$END"


class Rule(NamedTuple):
    """A rule of the grammar, and what becomes of its symbols.

    `children` are (which symbol, whether its own children take its place, how many None before it); `left_out` counts
    the None behind them.  Each None stands for an optional part that is absent.
    """

    origin: str
    name: str  # of its tree
    size: int  # symbols
    children: tuple[tuple[int, bool, int], ...]
    left_out: int
    single: bool  # a tree with one child is that child


class Tables(NamedTuple):
    """What an LALR generator makes of a grammar, as plain data.

    An action is a state to shift to, or -1 - r to reduce by rule r.
    """

    terminals: tuple[tuple[str, str], ...]  # (name, expression), in the order in which they are tried
    words: dict[str, str]  # keywords by their text; what finds them is the terminal of names
    ignored: tuple[str, ...]
    rules: tuple[tuple[Any, ...], ...]  # fields of `Rule`
    actions: tuple[dict[str, int], ...]  # by state and terminal
    follows: tuple[dict[str, int], ...]  # the next state, by state and rule
    start: int
    end: int


class Token(str):
    """A word or symbol: its text, the terminal that it is, its place, and its line counted from 1."""

    __slots__ = ("end_pos", "line", "start_pos", "type")
    type: str
    start_pos: int
    end_pos: int
    line: int

    def __new__(cls, type: str, text: str, start: int = 0, line: int = 1) -> Token:
        made = super().__new__(cls, text)
        made.type, made.start_pos, made.end_pos, made.line = type, start, start + len(text), line
        return made


class Tree:
    """What a rule made of its parts: trees, tokens, and None for an optional part that is absent."""

    __slots__ = ("children", "data")

    def __init__(self, data: str, children: list[Tree | Token | None]) -> None:
        self.data, self.children = data, children

    def subtrees(self) -> list[Tree]:
        """The tree and all trees below it, children before their parents."""
        found = [self]
        for tree in found:
            found += [child for child in tree.children if isinstance(child, Tree)]
        return found[::-1]


class UnexpectedCharacter(Exception):
    """No token begins at `offset`."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class UnexpectedToken(Exception):
    """A token, or the end, that can't stand there; `expected` are the terminals that the state has an action for."""

    def __init__(self, expected: set[str]) -> None:
        super().__init__(expected)
        self.expected = expected


class Grammar:
    """A lexer and parsers from tables."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.rules = tuple(Rule(*rule) for rule in tables.rules)

    @property
    def terminals(self) -> list[str]:
        """The names of all terminals."""
        return [*(name for name, _ in self.tables.terminals), *self.tables.words.values()]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """One expression with a group for each terminal."""
        return re.compile("|".join(f"(?P<{name}>{expression})" for name, expression in self.tables.terminals))

    def terminal(self, found: re.Match[str]) -> str:
        """The terminal that `pattern` has found."""
        name = found.lastgroup
        assert name is not None  # each alternative is a group
        return self.tables.words.get(found[0], name) if name == _NAME else name

    def lex(self, text: str) -> Iterator[Token]:
        """The tokens of a text.  UnexpectedCharacter where none begins."""
        match, ignored, start, line = self.pattern.match, self.tables.ignored, 0, 1
        while start < len(text):
            found = match(text, start)
            if found is None:
                raise UnexpectedCharacter(start)
            part = found[0]
            if found.lastgroup not in ignored:
                yield Token(self.terminal(found), part, start, line)
            start += len(part)
            line += part.count("\n")

    def parser(self) -> Parser:
        """A parser that has read nothing yet."""
        return Parser(self)

    def parse(self, text: str) -> Tree:
        """The tree of a text.  UnexpectedCharacter, UnexpectedToken."""
        parser = self.parser()
        for token in self.lex(text):
            parser.feed(token)
        return parser.end()


class Parser:
    """A parser that is given one token after the other."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.states = [grammar.tables.start]
        self.values: list[Any] = []

    def feed(self, token: Token) -> None:
        """Read one more token.  UnexpectedToken, after which there is no going on."""
        self.states.append(self._reduced(token.type))
        self.values.append(token)

    def end(self) -> Tree:
        """The tree of all tokens.  UnexpectedToken where more should follow."""
        self._reduced(_END)
        [tree] = self.values
        return tree

    def accepts(self) -> set[str]:
        """The terminals that can follow; _END is one."""
        return {each for each in self.grammar.tables.actions[self.states[-1]] if self._accepts(each)}

    def _accepts(self, terminal: str) -> bool:
        """Whether a terminal can follow: an LALR state may reduce on some that can't."""
        tables, rules, states = self.grammar.tables, self.grammar.rules, self.states.copy()
        while states[-1] != tables.end or terminal != _END:
            action = tables.actions[states[-1]].get(terminal)
            if action is None:
                return False
            if action >= 0:
                return True
            rule = rules[-1 - action]
            del states[len(states) - rule.size :]
            states.append(tables.follows[states[-1]][rule.origin])
        return True

    def _reduced(self, terminal: str) -> int:
        """The state to shift a terminal to, after the reductions that it asks for; the last state at the end."""
        tables, rules, states, values = self.grammar.tables, self.grammar.rules, self.states, self.values
        while states[-1] != tables.end or terminal != _END:
            action = tables.actions[states[-1]].get(terminal)
            if action is None:
                raise UnexpectedToken(set(tables.actions[states[-1]]))
            if action >= 0:
                return action
            rule = rules[-1 - action]
            begin = len(states) - rule.size
            parts = values[begin - 1 :]
            del states[begin:], values[begin - 1 :]
            states.append(tables.follows[states[-1]][rule.origin])
            values.append(_tree(rule, parts))
        return tables.end


def _tree(rule: Rule, parts: list[Any]) -> Any:
    """What a rule makes of its parts."""
    children: list[Any] = []
    for index, inline, absent in rule.children:
        children += [None] * absent
        if not inline:
            children.append(parts[index])
        elif children:
            children += parts[index].children
        else:  # the list goes on, or a long one would be copied for each of its items
            children = parts[index].children
    children += [None] * rule.left_out
    return children[0] if rule.single and len(children) == 1 else Tree(rule.name, children)
