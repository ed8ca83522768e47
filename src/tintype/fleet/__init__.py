"""How many workers there are and where: processes of this machine, or actors of a Ray cluster."""
