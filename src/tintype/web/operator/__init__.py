"""What an operator reads and changes of the server."""
