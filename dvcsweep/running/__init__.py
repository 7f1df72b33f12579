"""Running what is planned: driver, workers, clusters."""
