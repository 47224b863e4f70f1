"""What torch does with an operator besides calling it: derivatives and batches, and who watches a call."""
