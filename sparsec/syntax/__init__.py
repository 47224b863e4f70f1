"""Text to AST and back.  Lark is imported here and nowhere else."""
