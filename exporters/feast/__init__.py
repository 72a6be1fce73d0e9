"""A generated Feast repository over the released snapshots, for the stock Feast SDK."""
