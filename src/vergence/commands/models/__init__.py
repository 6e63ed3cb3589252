"""Verbs for finished models."""
