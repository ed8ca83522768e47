"""Public APIs of other hosts, each a `Dialect` over the queue that the vendor's has."""
