"""The models inside the package, as .onnx files."""
