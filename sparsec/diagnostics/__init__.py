"""Every message a user can see, one class for each code, and one renderer.

    raise SparsecError(UnknownName(name="pas", span=span))

SP01xx text and syntax, SP02xx names and sorts, SP03xx numbers, SP04xx heads and layers, SP05xx tables, SP06xx the
call, SP07xx files and the cache, SP08xx limits, SP09xx what a set amounts to (mostly warnings).
"""

from sparsec.diagnostics.core import CODES, Diagnostic, Example, Fix, PatternWarning, SparsecError

from sparsec.diagnostics.text import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.names import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.inputs import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.numbers import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.scores import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.heads import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.tables import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.call import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.sharding import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.files import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.limits import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.lint import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.advice import *  # noqa: F403  # isort: skip
from sparsec.diagnostics.explain import explain
from sparsec.diagnostics.needs import torch_for
from sparsec.diagnostics.render import printable, render

__all__ = ["CODES", "Diagnostic", "Example", "Fix", "PatternWarning", "SparsecError"]
__all__ += ["explain", "printable", "render", "torch_for"]
__all__ += [kind.__name__ for kind in CODES.values()]
