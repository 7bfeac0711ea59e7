"""Recipes, and the places where things stood in old versions."""
