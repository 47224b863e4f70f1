"""Files that sparsec keeps between processes: modules under digests, records of what they were made of."""
