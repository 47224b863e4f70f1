"""Text to AST and back.  Lark is imported here and nowhere else."""

from sparsec.syntax.parse import parse
from sparsec.syntax.printer import print_expression, print_file

__all__ = ["parse", "print_expression", "print_file"]
