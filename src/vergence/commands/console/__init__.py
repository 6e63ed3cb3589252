"""What several verbs print, and how."""
