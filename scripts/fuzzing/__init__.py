"""Inputs that libFuzzer begins with."""
