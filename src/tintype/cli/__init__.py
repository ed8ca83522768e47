"""The command line."""

def main() -> None:
    """Run the `tintype` command."""
