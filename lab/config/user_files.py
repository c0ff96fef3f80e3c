"""Lets Hydra read the YAML files of a user's ``--config-dir`` with old names (``lab.config.aliases``)."""

from __future__ import annotations

from typing import Any

from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from lab.compat.hydra import FolderSource, register_source
from lab.config.aliases import renamed_file

SCHEME = "lab-user"


class UserFiles(FolderSource):
    """A folder of groups in which keys and options may have the names of an earlier version."""

    @staticmethod
    def scheme() -> str:
        """Return the part before ``://`` in Hydra's search path."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            ConfigError: the file has a key under both of its names.
        """
        result: Any = super().load_config(config_path)
        content: Any = OmegaConf.to_container(result.config, resolve=False)
        if isinstance(content, dict):
            group = config_path.rpartition("/")[0]
            package = result.header.get("package") or "_group_"
            package = {"_group_": group.replace("/", "."), "_global_": ""}.get(package, package)
            result.config = OmegaConf.create(renamed_file(content, package, self.file_of(config_path), group))
        return result


def register() -> None:
    """Register the scheme with Hydra; repeated calls are harmless."""
    register_source(UserFiles)
