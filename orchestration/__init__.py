"""Orchestration: the callables behind the command line and the DAGs."""
