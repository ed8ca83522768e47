"""The database: connections, transactions, the schema, and what every other room of the store builds on."""
