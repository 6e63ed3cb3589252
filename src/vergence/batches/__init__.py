"""The one batch type, and what is done to images and their geometry at once."""
