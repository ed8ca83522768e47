"""Logs, metrics and traces: the only package that names a counter or a span."""
