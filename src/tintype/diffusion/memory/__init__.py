"""Memory: which components are where, and what a pass through one of them needs beside its weights."""
