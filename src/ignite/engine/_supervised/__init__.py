"""Engines of supervised training and evaluation, and their steps; public names are in ``ignite.engine``."""
