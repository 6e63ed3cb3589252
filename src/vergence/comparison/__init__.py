"""Recipes and runs side by side, and tables of papers reproduced."""
