"""Checkpoints as they lie on disk: which components a model has, and the tensors of each, by their library's names."""
