"""The HTTP API of `featmill serve`. Only this package imports the libraries of the extra `serve`."""
