"""Training sets: point in time, from released snapshots, with a manifest that says what they were made of."""
