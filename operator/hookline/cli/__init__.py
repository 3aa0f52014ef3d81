"""The command line: one module for each command group; `main` puts them together."""
