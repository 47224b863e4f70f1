"""AST -> Pattern: names resolved, sorts checked, parameters, heads and layers bound."""
