"""Calibration files, one module for each family; `footage.calibration` says what all of them end in."""
