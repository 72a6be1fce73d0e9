"""What a dbt project declares, read once from its manifest."""
