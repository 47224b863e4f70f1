"""What is wrong with a text, where, and how it may be mended."""
