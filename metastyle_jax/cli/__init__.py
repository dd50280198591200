"""The commands: each module adds its flags (`add_parser`) and runs."""

__all__ = ["commands", "terminal"]
