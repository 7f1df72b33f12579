"""Pages and pictures made from what the pipeline and studies left; no stages of it."""
