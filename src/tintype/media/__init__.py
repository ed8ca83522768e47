"""Images in and out: fetching, decoding, encoding, storing."""
