"""How the built-in weights are made: `make weights` runs every step, and goes on where it was stopped."""
