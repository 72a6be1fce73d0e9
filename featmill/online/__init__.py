"""The online store: Feast's bytes, connections, the embedded server, what is live."""
