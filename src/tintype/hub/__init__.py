"""WHERE weights come from: the operator's own, pulled ones, built-in ones; no torch."""
