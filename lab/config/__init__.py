"""Typed schemas of the configuration groups, and the checks across them. No torch here."""
