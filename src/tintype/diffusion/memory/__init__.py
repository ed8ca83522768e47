"""Memory: which components are on which device, and the activation memory that passes through them need."""
