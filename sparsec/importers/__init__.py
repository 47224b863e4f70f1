"""Patterns written for other programs, as .spat text.  Importing this takes neither torch nor transformers."""
