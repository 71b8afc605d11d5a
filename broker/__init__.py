"""Toolwarrant: the broker between AI agents and their tools; no tool runs without a warrant."""
