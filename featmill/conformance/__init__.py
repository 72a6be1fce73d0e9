"""What every value means, as cases: inputs and expected answers as data, run against each engine we have and others."""
