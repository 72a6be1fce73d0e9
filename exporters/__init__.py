"""Exporters: one thin module per sink."""
