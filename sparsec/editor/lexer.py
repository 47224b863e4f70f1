"""Colours for .spat texts by Pygments, which finds this class by the entry point of the package, as `spat`."""

from __future__ import annotations

from collections.abc import Iterator

from pygments.lexer import Lexer
from pygments.token import Comment, Error, Keyword, Name, Number, Operator, Punctuation, String, Whitespace, _TokenType

from sparsec.editor.kinds import kinds
from sparsec.syntax.scan import scan

_COLOURS = {
    "keyword": Keyword,
    "word operator": Operator.Word,
    "declared": Name.Function,
    "called": Name.Builtin,
    "position": Name.Constant,
    "name": Name.Variable,
    "number": Number,
    "documentation": String.Doc,
    "text": String,
    "comment": Comment.Single,
    "operator": Operator,
    "punctuation": Punctuation,
    "blank": Whitespace,
    "error": Error,
}


class SpatLexer(Lexer):
    """The tokens of the grammar, coloured; what is in no language of ours is an error and the rest goes on."""

    name = "sparsec"
    url = ""
    aliases = ("spat",)
    filenames = ("*.spat",)
    mimetypes = ("text/x-spat",)

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        for lexeme, kind in kinds(scan(text)):
            yield lexeme.start, _COLOURS[kind], lexeme.text
