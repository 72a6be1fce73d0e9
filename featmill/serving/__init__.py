"""Reading features online: a service compiled once, one round trip, an answer that says how fresh it is."""
