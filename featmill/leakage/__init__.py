"""Proof that features look at the past only: sources altered after a moment, and a reading of the compiled SQL."""
