"""Themis Secure Cell Seal and Themis key containers."""
