"""Measure a broker against what it is built on, both sides in one run."""
