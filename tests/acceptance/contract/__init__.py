"""The wire contract, stated once: each test asks the app in this process, and a server in processes of its own."""
