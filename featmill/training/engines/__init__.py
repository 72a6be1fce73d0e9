"""Engines of the point-in-time join: several ways to one answer (rules 11 to 16), chosen by `training.planner`."""
