"""A campaign's configuration: read, checked, and said in one message when it is wrong."""

from mace_core.config.campaign import Config, load_config, load_settings

__all__ = ["Config", "load_config", "load_settings"]
