"""SP02xx: names, arguments and the two sorts."""

from __future__ import annotations

from sparsec.diagnostics.core import Diagnostic, Example


class UnknownName(Diagnostic, code="SP0201", title="unknown name"):
    """The name is no parameter of this declaration, no set or pattern of this file, of a used file or of the prelude.

    A set sees its own parameters only, never those of the pattern that calls it.
    """

    name: str
    hint: str = ""
    message = "unknown name `{name}`"
    label = "not defined"
    help = "{hint}"
    example = Example("pattern p(w = 8) = pas(w)\n")
    cure = "`past(w)`"


class IntegerNeeded(Diagnostic, code="SP0202", title="a set where an integer is needed"):
    """Arithmetic, comparisons and arguments take integers.  Nothing turns a set into an integer.

    `&`, `|`, `\\` and `~` bind looser than comparisons: `q <= k & 3` is `(q <= k) & 3`.
    """

    where: str
    hint: str = ""
    message = "{where} needs an integer, and this is a set of pairs"
    label = "a set"
    help = "{hint}"
    example = Example("pattern p = (q <= k) <= 3\n")
    cure = "`pattern p = q <= k & k <= 3`"


class SetNeeded(Diagnostic, code="SP0203", title="an integer where a set is needed"):
    """`&`, `|`, `\\`, `~` and a pattern's body take sets of pairs.  Nothing turns an integer into a set."""

    where: str
    hint: str = ""
    message = "{where} needs a set of pairs, and this is an integer"
    label = "an integer"
    help = "{hint}"
    example = Example("pattern p = k in 0..4 | 5\n")
    cure = "`pattern p = k in 0..4 | k == 5`"


class WrongArguments(Diagnostic, code="SP0204", title="wrong arguments"):
    """A set, pattern or function is given another number of arguments than it has parameters, or a name it lacks."""

    name: str
    takes: str
    given: str
    signature: str
    message = "`{name}` takes {takes}, and {given}"
    label = "{given}"
    help = "it is declared `{signature}`"
    example = Example("pattern p = past(4, 8)\n")
    cure = "`past(4)`"


class DefinedTwice(Diagnostic, code="SP0205", title="defined twice"):
    """Two sets or patterns of a file, or of the files it uses, share a name; or two parameters of one declaration do.

    A name of the prelude may be defined again: the file's own then counts in that file, and nowhere else.
    """

    name: str
    where: str
    message = "`{name}` is defined twice"
    label = "already defined {where}"
    example = Example("set near = past(4)\nset near = past(8)\npattern p = near\n")
    cure = "Give one of them another name."


class Recursion(Diagnostic, code="SP0206", title="a set that needs itself"):
    """A set is defined by what it says, and can't be part of itself, neither directly nor through others."""

    cycle: str
    hint: str = ""
    message = "a set can't be defined through itself: {cycle}"
    label = "leads back to where it began"
    help = "{hint}"
    example = Example("set a = b | causal\nset b = a\npattern p = a\n")
    cure = "Define one of them without the other."


class ReservedName(Diagnostic, code="SP0207", title="reserved name"):
    """`q k n h H layer L` are the integers every condition starts from, and `pattern`, `heads` and `layers` are
    keywords of `sparsec.load`; neither can name a parameter, nor can the words of the language itself (`set`, `use`,
    `input`, `match`, `else`, `in`, `not`).  Every other name is free.  Inputs are given by keyword at a call, so they
    can't have the names of its arguments (`v`, `scale`, `q_offset`, `documents`, ...).
    """

    name: str
    why: str
    hint: str = "it is a word of the language; choose another name"
    message = "`{name}` can't be the name of {why}"
    label = "reserved"
    help = "{hint}"
    example = Example("pattern p(heads = 8) = past(heads)\n")
    cure = "`pattern p(count = 8) = past(count)`"


class UnknownParameter(Diagnostic, code="SP0208", title="unknown parameter"):
    """The caller gives a parameter that the pattern does not have."""

    name: str
    pattern: str
    hint: str = ""
    message = "pattern `{pattern}` has no parameter `{name}`"
    help = "{hint}"
    example = Example("pattern p(w = 8) = past(w)\n", parameters={"v": 4})
    cure = "Pass `w=4`."


class MissingParameter(Diagnostic, code="SP0209", title="missing parameter"):
    """The parameter has no default, so the caller has to give it: `load(..., w=1024)`, or `-D w=1024`."""

    name: str
    pattern: str
    message = "pattern `{pattern}` needs a value for `{name}`"
    label = "has no default"
    help = "pass `{name}=...`, or on the command line `-D {name}=...`"
    example = Example("pattern p(w) = past(w)\n")
    cure = "Pass `w=1024`, or declare a default: `pattern p(w = 1024)`."


class UnknownPattern(Diagnostic, code="SP0210", title="which pattern?"):
    """The file declares several patterns and the caller names none of them, or names one that it does not declare."""

    problem: str
    hint: str
    message = "{problem}"
    help = "{hint}"
    example = Example("pattern a = causal\npattern b = full\n")
    cure = 'Pass `pattern="a"`, or on the command line `-p a`.'


class BadParameterValue(Diagnostic, code="SP0211", title="a parameter that is no integer"):
    """Parameters are integers."""

    name: str
    value: str
    message = "parameter `{name}` is an integer, not {value}"
    example = Example("pattern p(w = 8) = past(w)\n", parameters={"w": 2.5})
    cure = "Pass an integer."


class MisplacedTable(Diagnostic, code="SP0212", title="a misplaced table or text"):
    """Tables `[[...]]` and texts stand as the second argument of `blocks`, and nowhere else."""

    message = "a table or a text can't stand here"
    label = "not an integer"
    example = Example("pattern p = past([4])\n")
    cure = "`pattern p = past(4)`"


class CircularUse(Diagnostic, code="SP0213", title="a file that uses itself"):
    """A file can't use itself, neither directly nor through others."""

    cycle: str
    message = "a file can't use itself: {cycle}"
    label = "leads back to a file that is being read"
    example = Example(
        'use "a.spat"\npattern p = causal\n', files={"a.spat": 'use "b.spat"\n', "b.spat": 'use "a.spat"\n'}
    )
    cure = "Move what both files need into a third."
