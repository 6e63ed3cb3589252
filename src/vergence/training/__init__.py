"""A run: its sources opened, its stages trained and labelled, its model saved."""
