"""What `evaluate.detail: full` adds: rivals, intervals, robustness and pictures."""
