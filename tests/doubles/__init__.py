"""Stand-ins for what cannot be here; each speaks the real protocol."""
