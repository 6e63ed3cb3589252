"""Recipes: every setting of a run, typed, and the recipes and tables that come with the package."""
