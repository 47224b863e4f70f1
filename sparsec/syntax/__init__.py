"""Text to AST and back.  Lark, which makes the parser's tables, is imported here and nowhere else."""
