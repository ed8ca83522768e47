"""Requests: submitted, claimed, ended, and kept as history."""
