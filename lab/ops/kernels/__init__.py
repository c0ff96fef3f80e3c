"""Kernels in Triton. A module is imported when it is launched for the first time; Triton comes with torch on Linux."""
