"""Parts of bench.py."""
