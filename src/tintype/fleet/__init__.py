"""How many workers run and where: processes of this machine, or actors of a Ray cluster."""
