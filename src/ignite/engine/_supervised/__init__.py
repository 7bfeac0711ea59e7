"""The usual engines of supervised training and evaluation, and their steps.

Public names: ``ignite.engine``.
"""
