"""What `sparsec cost` and `--emit plan` say of a pattern, as plain data and as text."""
