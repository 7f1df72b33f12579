"""Networks: what families share, one module for each family, and the model file."""
