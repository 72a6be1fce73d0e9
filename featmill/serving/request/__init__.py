"""Features computed when they are asked for: one SQL expression, the same value here and in training."""
