"""Crops prepared for fast reading."""
