"""Text to AST and back.  Lark is imported here and nowhere else."""

from sparsec.syntax.format import format_text
from sparsec.syntax.parse import parse
from sparsec.syntax.printer import print_expression, print_file

__all__ = ["format_text", "parse", "print_expression", "print_file"]
