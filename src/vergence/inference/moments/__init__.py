"""Moments of footage: their index in a file, and those of it that are nearest to a query."""
