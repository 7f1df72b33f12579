"""Kalman filters that follow named tones sample by sample, and need no training: drift, outliers, gaps, clipping."""
