"""Benchmarks. `make bench` runs bench/table.py; the others run by themselves."""
