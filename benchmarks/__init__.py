"""Measurements of vilseg beside its peers; benchmarks/README.md is their contract."""
