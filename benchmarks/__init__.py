"""Figures, each a ratio measured in one run; `make bench` prints them and writes them as JSON."""
