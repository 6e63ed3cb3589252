"""Who is who in several cameras."""
