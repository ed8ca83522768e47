"""What has been asked: requests, accounts and keys, durable in one SQL database."""
