"""Geometry: pure functions on tensors. Cameras, alignment, lifting, triangulation, and what is built from them."""
