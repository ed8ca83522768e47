"""Requests: submitted, claimed, ended, remembered."""
