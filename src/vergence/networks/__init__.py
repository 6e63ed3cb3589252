"""Networks: a backbone from transformers, a neck that brings its maps to one resolution, a head that reads joints off them."""
