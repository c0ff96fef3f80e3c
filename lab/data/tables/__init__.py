"""Reads columns of text and Parquet tables; every row is either read or counted as left out."""
