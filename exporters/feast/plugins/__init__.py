"""Feast's own extension points over featmill: a data source, an offline store, a compute engine, an online store.

Feast loads these modules by the names in `feature_store.yaml`; nothing else imports them.
"""
