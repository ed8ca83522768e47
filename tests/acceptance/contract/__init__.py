"""The wire contract, stated once: each test asks the app in this process, and a `tintype serve` in processes of its own."""
