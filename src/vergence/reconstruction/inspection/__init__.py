"""Whether footage will do, and what to film again, before hours are spent on it."""
