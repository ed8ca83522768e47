"""The worker: claim → fetch → engine → encode → put → complete; leases are renewed meanwhile."""
