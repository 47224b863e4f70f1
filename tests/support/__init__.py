"""What several folders of tests use: examples as modules, random conditions, plans walked tile by tile."""
