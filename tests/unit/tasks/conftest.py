"""Fixtures of tests that read datasets."""

from tests.unit.data_fixtures import data_dir, fresh_state

__all__ = ["data_dir", "fresh_state"]
