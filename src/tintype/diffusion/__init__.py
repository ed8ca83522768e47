"""How an image is made: pure torch, without HTTP, database or settings."""
