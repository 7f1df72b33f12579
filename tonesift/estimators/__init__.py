"""Estimators that need no training: classical filters, and the best that any estimator could do."""
