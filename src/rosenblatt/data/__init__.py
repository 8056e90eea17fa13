"""Readers of tables and pictures, data sets by name, resident batches."""
