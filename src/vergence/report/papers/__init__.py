"""Figures of papers beside ours."""
