"""What producers send: the built-in events, schemas, and how a body is read and judged. Does no I/O."""
