"""Recipes for training, and import paths of old versions of Ignite."""
