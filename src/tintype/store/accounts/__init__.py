"""Accounts, their API keys and their uploads."""
