"""Visage: another expression on the same face."""
