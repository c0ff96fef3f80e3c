"""Runs side by side: the tables of lab runs, lab diff and lab clean, read from run directories. No torch."""
