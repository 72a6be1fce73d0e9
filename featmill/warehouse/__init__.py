"""Published snapshots: the lake, the registry of releases, and the plug-in by which dbt writes them."""
