"""Examples: projects that use featmill as an outsider would."""
