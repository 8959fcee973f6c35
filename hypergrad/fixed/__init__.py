"""Exactly reversible training: integers are here only."""
