"""Pages and windows about one recording: will it do, and what was predicted of it."""
