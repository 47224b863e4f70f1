"""Imports of .spat files: after `import sparsec.hook`, `patterns.spat` beside your code is a module.

    import sparsec.hook
    from patterns import longformer

    out = longformer(q, k, v)  # with the defaults of its parameters
    short = longformer.bind(w=256)  # another operator
    mixed = other.bind(heads=16)  # for patterns that depend on the head, or the layer

A module has one `Operator` for each `pattern` of its file; what it needs of other files is found as ever, by `use`.
Files are looked for where Python looks for modules, on sys.path and inside packages, and only when Python itself
finds nothing of that name.  Importing checks the text; the operators are compiled when they are first called, and
torch is imported then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from inspect import cleandoc
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparsec.diagnostics import SparsecError
from sparsec.runtime.calls import Calls

if TYPE_CHECKING:
    from sparsec.diagnostics import Diagnostic
    from sparsec.runtime.attend import Attend, Tensor
    from sparsec.runtime.bound_pattern import BoundPattern
    from sparsec.source import Source
    from sparsec.syntax.ast import Definition

__all__ = ["Operator", "PatternSyntaxError"]

_COUNTS = ("heads", "layer", "layers")


class PatternSyntaxError(SparsecError, SyntaxError):
    """An imported text is wrong.  `diagnostics` holds every error; file, line and column are those of the first."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        first = diagnostics[0]
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        self.msg = f"[{first.code}] {first.fill(first.message)}{more}"
        if first.span is not None:
            source, line = first.span.source, first.span.line
            self.filename, self.lineno, self.offset = source.name, line, first.span.column
            self.text = source.text.split("\n")[line - 1]


class Operator(Calls):
    """Attention over a pattern of an imported file: `operator(q, k, v)`, as `sparsec.Attend`, compiled at first use."""

    def __init__(self, module: str, path: str, content: bytes, definition: Definition, bound: dict[str, int]) -> None:
        self.__name__ = self.__qualname__ = definition.name
        self.__module__ = module
        self.__doc__ = _described(definition)
        self._path, self._content, self._definition, self._bound = path, content, definition, bound
        self._attend: Attend | None = None
        self._lock = Lock()

    @property
    def attend(self) -> Attend:
        """The compiled operator.  SparsecError for what is wrong with the pattern or what is bound."""
        return self._compiled()

    @property
    def pattern(self) -> BoundPattern:
        """The pattern with what is bound: `.mask(n_q, n)`, `.count(n)`, `.block_mask(n)`."""
        return self._compiled().pattern

    def bind(self, **values: int) -> Operator:
        """The operator with other parameters; `heads`, `layer` and `layers` as of `sparsec.load`."""
        return Operator(self.__module__, self._path, self._content, self._definition, {**self._bound, **values})

    def _call(self, q: Tensor, k: Tensor, v: Tensor, **given: Any) -> Any:
        return self._compiled()(q, k, v, **given)

    def _input_names(self) -> tuple[str, ...]:
        return self._compiled()._input_names()

    def _compiled(self) -> Attend:
        return self._attend or self._made()

    def _made(self) -> Attend:
        from sparsec.runtime.build_or_load import Chosen
        from sparsec.runtime.load import operator

        heads, layer, layers = (self._bound.get(name) for name in _COUNTS)
        rest = {name: value for name, value in self._bound.items() if name not in _COUNTS}
        with self._lock:
            if self._attend is None:
                chosen = Chosen(self.__name__, heads, layer, layers, rest)
                self._attend = operator(self._path, self._content, chosen, stacklevel=6)
            return self._attend

    # torch.compile leaves its graph there, or says this where it may not: it traces no compiler.
    _made._torchdynamo_disable = True  # type: ignore[attr-defined]
    _made._torchdynamo_disable_msg = "a pattern is compiled here: for fullgraph=True, call it before"  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        bound = ", ".join(f"{name}={value}" for name, value in self._bound.items())
        return f"<sparsec.hook.Operator {self.__name__}({bound}) of {self._path!r}>"

    def __copy__(self) -> Operator:
        return self

    def __deepcopy__(self, memo: dict) -> Operator:
        return self

    def __reduce__(self) -> tuple:
        return _found_again, (self.__module__, self.__name__, self._bound)


def _found_again(module: str, name: str, bound: dict[str, int]) -> Operator:
    from importlib import import_module

    return getattr(import_module(module), name).bind(**bound)


class SpatFinder(MetaPathFinder):
    """Finds `a/b.spat` for `import a.b`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2] + ".spat"
        for entry in sys.path if path is None else path:
            file = os.path.abspath(os.path.join(entry, name)) if isinstance(entry, str) else ""
            if os.path.isfile(file):
                return spec_from_file_location(fullname, file, loader=SpatLoader(file))
        return None


class SpatLoader(Loader):
    """Fills a module from a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def exec_module(self, module: ModuleType) -> None:
        """PatternSyntaxError for a text that is wrong, ImportError for a file that can't be read."""
        from sparsec.lower.file import check_names
        from sparsec.syntax.parse import parse

        content = self._read(module.__name__)
        try:
            file = parse(self._decoded(content))
            check_names(file)
        except SparsecError as error:
            raise PatternSyntaxError(*error.diagnostics) from None
        patterns = [each for each in file.definitions if each.kind == "pattern" and not each.name.startswith("__")]
        made = {each.name: Operator(module.__name__, self.path, content, each, {}) for each in patterns}
        module.__doc__ = "\n\n".join([f"Patterns of {os.path.basename(self.path)}.", *map(_described, patterns)])
        vars(module).update(made, __all__=list(made))

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_source(self, fullname: str) -> str:
        """The text, for linecache and inspect."""
        return self._decoded(self._read(fullname)).text

    def get_code(self, fullname: str) -> None:
        """None: there is nothing to run."""

    def is_package(self, fullname: str) -> bool:
        return False

    def _read(self, fullname: str) -> bytes:
        from sparsec.syntax.check import MAX_TEXT
        from sparsec.syntax.read import read_bytes

        try:
            content = read_bytes(self.path, 4 * MAX_TEXT)
        except SparsecError as error:
            raise ImportError(str(error), name=fullname, path=self.path) from None
        if content is None:
            raise ImportError(f"{self.path} is too long for a .spat file", name=fullname, path=self.path)
        return content

    def _decoded(self, content: bytes) -> Source:
        from sparsec.syntax.read import decode

        return decode(self.path, content)


def _described(definition: Definition) -> str:
    """The head of a declaration as written, and its documentation."""
    head = " ".join(definition.span.source.text[definition.name_span.start : definition.body.span.start].split())
    doc = cleandoc(definition.doc or "")
    return f"{head.rstrip('( ').removesuffix('=').rstrip()}\n\n{doc}".rstrip()


def _install() -> None:
    """Behind Python's own finders, once, also when this module is loaded anew."""
    others = [each for each in sys.meta_path if type(each).__module__ != __name__]
    sys.meta_path[:] = [*others, SpatFinder()]


_install()
