"""AST -> text in one layout, comments kept."""
