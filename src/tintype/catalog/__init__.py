"""What can be asked: the catalogue of models, as data."""
