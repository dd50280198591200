"""Tables, plots and contact sheets of measurements."""

__all__ = ["event_file", "plots", "records", "sheets", "training_page", "wandb_run"]
