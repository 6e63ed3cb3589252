"""A run measured on test sets and under protocols, beside its baselines."""
