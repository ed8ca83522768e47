"""Webhooks: subscriptions, events, deliveries."""
