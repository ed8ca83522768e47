"""What a tensor of the original layouts is called by the library's classes, a module per part of a model."""
