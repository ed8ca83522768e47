"""tintype: a self-hosted image-generation server that speaks a commercial host's public API."""

__version__ = "0.1.0"
