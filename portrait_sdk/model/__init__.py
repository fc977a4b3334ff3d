"""Model files, providers, sessions, the registry and its cache. ONNX Runtime is used here alone."""
