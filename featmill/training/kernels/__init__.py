"""Windows at arbitrary times over sorted arrays: the same answers as the SQL, for a fraction of the work."""
