"""Greenroom: a self-hosted studio for AI actors."""

__version__ = "0.1.0"
