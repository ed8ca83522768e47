"""How a picture is made: pure torch, without HTTP, database or settings."""
