"""What footage says against a reconstruction: cameras, lenses, time and sides that do not fit it."""
