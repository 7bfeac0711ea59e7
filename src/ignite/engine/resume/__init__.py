"""What belongs to a run: found, saved as a dictionary, and restored from it."""
