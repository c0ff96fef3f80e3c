"""Packages of extras that a config needs; without one the command is refused before anything begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from lab.config.compose import Composed
from lab.errors import ConfigError

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https", "file", "databricks")


def check_packages(composed: Composed) -> None:
    """Check that the optional packages that a config uses are installed.

    Raises:
        ConfigError: one is missing, or MLflow's address is of a kind that it does not know.
    """
    for key, package, remedy in _needed(composed):
        if find_spec(package) is None:
            raise ConfigError(f"{key} ({composed.origin(key)}): {package} is not installed; {remedy}")


def _needed(composed: Composed) -> Iterator[tuple[str, str, str]]:
    """Yield a key, the package that it needs, and how to get that."""
    config = composed.config
    if config["strategy"]["name"].startswith("deepspeed"):
        yield "strategy", "deepspeed", "pip install 'lab[deepspeed]'"
    for name in ("tensorboard", "mlflow"):
        if config["logger"].get(name) is not None:
            yield f"logger.{name}", name, "pip install 'lab[trackers]'"
    mlflow = config["logger"].get("mlflow")
    if mlflow is not None and _scheme(mlflow["tracking_uri"]) in _DATABASES:
        yield "logger.mlflow.tracking_uri", "sqlalchemy", "pip install sqlalchemy alembic, or name a folder"


def _scheme(tracking_uri: str | None) -> str:
    """Return what stands before ``://``; an empty text for a folder."""
    address = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    scheme = address.partition("://")[0].partition("+")[0] if "://" in address else ""
    if scheme and scheme not in (*_DATABASES, *_SERVERS):
        known = ", ".join(f"{name}://" for name in (*_DATABASES, *_SERVERS))
        raise ConfigError(
            f"logger.mlflow.tracking_uri={address}: {scheme}:// is no store of MLflow; a folder or {known}"
        )
    return scheme
