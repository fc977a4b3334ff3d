"""Pure functions on arrays; their kernels in C where built, in NumPy elsewhere."""
