"""Finds the objects that belong to a run, saves them as a dictionary, and restores them."""
