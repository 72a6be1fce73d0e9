"""The way to the store: connections, nodes, the bytes that ask for rows, and the ways in which it does not answer."""
