"""sparsec: attention patterns as text, compiled to exact PyTorch operators, forward and backward.

    attend = sparsec.load("longformer.spat", w=256, g=32)
    out = attend(q, k, v)  # [B, H, n_q, D], [B, H_kv, n, D] -> [B, H, n_q, D]

What stands here is loaded when it is first used, so that `import sparsec` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # which type checkers know by its name; `typing` takes longer to import than all else here

if TYPE_CHECKING:
    from sparsec.diagnostics import PatternWarning, SparsecError
    from sparsec.importers.from_config import from_config
    from sparsec.importers.from_mask_mod import from_mask_mod
    from sparsec.importers.from_score_mod import from_score_mod
    from sparsec.runtime.attend import Attend
    from sparsec.runtime.load import compile, load

    __version__: str

__all__ = [
    "Attend",
    "PatternWarning",
    "SparsecError",
    "__version__",
    "compile",
    "from_config",
    "from_mask_mod",
    "from_score_mod",
    "load",
]

_HOMES = {
    "Attend": "sparsec.runtime.attend",
    "PatternWarning": "sparsec.diagnostics",
    "SparsecError": "sparsec.diagnostics",
    "compile": "sparsec.runtime.load",
    "from_config": "sparsec.importers.from_config",
    "from_mask_mod": "sparsec.importers.from_mask_mod",
    "from_score_mod": "sparsec.importers.from_score_mod",
    "load": "sparsec.runtime.load",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        value = _installed()
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'sparsec' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _installed() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sparsec")
    except PackageNotFoundError:
        return "0+unknown"  # run from a checkout that is not installed
