"""Datasets on disk: one dataset, one file, each giving rows of Views."""
