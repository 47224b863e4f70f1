"""SP01xx: the text itself and its syntax."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class NotUtf8(Diagnostic, code="SP0101", title="not UTF-8"):
    """A .spat file is text in UTF-8.  This one holds a byte that no UTF-8 text has."""

    name: str
    offset: int
    message = "`{name}` is not UTF-8: byte {offset} can't be read"
    help = "save the file as UTF-8"
    example = Example("pattern p = causal # \\xff\n", make=lambda: (b"pattern p = causal # \xff\n", {}))
    cure = "Save the file as UTF-8, or remove the odd byte."


class OddCharacter(Diagnostic, code="SP0102", title="a character that can't be shown"):
    """Control characters and marks that change the direction of writing make a text read otherwise than it means.

    They are refused everywhere, also in comments and strings.  Lines end with a line feed or with a carriage return and
    a line feed; a carriage return alone is refused, since some programs end a line at it and others do not.
    """

    character: str  # as U+XXXX
    name: str
    hint: str = "remove the character"
    message = "{character} ({name}) can't stand in a .spat file"
    label = "here, invisible"
    help = "{hint}"
    example = Example("pattern p = causal # \\u202e\n", make=lambda: ("pattern p = causal # \u202e\n".encode(), {}))
    cure = "Remove the character."


class UnknownCharacter(Diagnostic, code="SP0103", title="unknown character"):
    """A character that means nothing in the language.  Names are made of ASCII letters, digits and `_`."""

    character: str
    hint: str = ""
    message = "unknown character `{character}`"
    label = "not part of the language"
    help = "{hint}"
    example = Example("pattern p = k <= q ? causal\n")
    cure = "Write `&`, `|`, `\\` and `~` for sets, `+ - * // % **` for integers."


class UnexpectedText(Diagnostic, code="SP0104", title="unexpected text"):
    """The text does not follow the grammar here.  The message says what could have stood in its place."""

    found: str
    expected: str
    hint: str = ""
    message = "expected {expected}, found {found}"
    label = "unexpected"
    help = "{hint}"
    example = Example("pattern p = causal & & past(4)\n")
    cure = "See the grammar, `grammar/spat.lark`; here one `&` is too many."


class WrongSymbol(Diagnostic, code="SP0105", title="another language's symbol"):
    """A word or symbol of another language.

    Sets are combined with `&` (and), `|` (or), `\\` (and not), `~` (not); `=` gives a default, `==` compares;
    `//` divides, rounding down.
    """

    found: str
    right: str
    message = "`{found}` is written `{right}` here"
    label = "write `{right}`"
    example = Example("pattern p = k <= q and q - k < 8\n")
    cure = "`pattern p = k <= q & q - k < 8`"


class OpenString(Diagnostic, code="SP0106", title="string without an end"):
    """A string in `"` ends on its line; one in three quotes may run over several."""

    message = "this string has no end"
    label = "begins here"
    help = 'close it with `"`, or use `"""` for a text of several lines'
    example = Example('"the past\npattern p = causal\n')
    cure = '`"the past"`, on one line.'


class NotYet(Diagnostic, code="SP0107", title="not in this version"):
    """What is asked for is not part of patterns, or not yet, or has another name here: dropout, for one, belongs to
    the call.  The message names the way around.
    """

    what: str
    hint: str
    message = "{what} is not in this version of sparsec"
    label = "not in this version"
    help = "{hint}"
    example = Example("pattern p = causal with dropout(1)\n")
    cure = "Leave it out, and say it in the call: `attend(q, k, v, dropout_p=0.1)`."


class NoPattern(Diagnostic, code="SP0108", title="no pattern"):
    """A file that is compiled declares at least one pattern.  A file of `set`s alone is for `use`."""

    name: str
    message = "`{name}` declares no pattern"
    help = "write `pattern name = ...`"
    example = Example("set near = past(4)\n")
    cure = "`pattern near = past(4)`"
