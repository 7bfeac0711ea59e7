"""Data of all kinds as batches, what is learnt from them, and checks before the first step."""
