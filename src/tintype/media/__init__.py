"""Pictures in and out: fetching, decoding, encoding, keeping."""
