"""featmill: a feature store for teams that already have dbt."""
