"""Converts data of all kinds to batches, learns facts from them, and checks them before the first step."""
