"""A text in the usual layout, with proof that it says the same."""

from __future__ import annotations

from sparsec.source import Source
from sparsec.syntax.format.layout import lay_out
from sparsec.syntax.format.trivia import comments
from sparsec.syntax.parse import parse


def format_text(source: Source) -> str:
    """The text laid out anew: the same declarations and the same comments, and its own layout is itself.

    SparsecError with all errors of a text that is not in the language.
    """
    file = parse(source)
    text = lay_out(source)
    new = Source(source.name, text)
    if parse(new) != file or comments(new) != comments(source):
        raise AssertionError(f"the layout of {source.name} would change what it says")
    return text
