"""Text to AST and back.  Lark is imported here and nowhere else."""

from sparsec.syntax.parse import parse

__all__ = ["parse"]
