"""One HTTPS call: whom it may reach and trust, its connection, its answer. The only room with an HTTP client."""
