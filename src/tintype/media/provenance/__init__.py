"""What a file says of its own making, and what of that is true."""
