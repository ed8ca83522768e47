"""Making images: submit, wait, follow, fetch."""
