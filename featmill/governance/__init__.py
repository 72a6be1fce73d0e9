"""What may stay in the lake and what must go: retention and erasure."""
