"""What an account reads and changes of its own: credits, history, keys, webhooks."""
