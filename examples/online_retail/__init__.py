"""Online retail: an outside dbt project on real invoice lines."""
