"""Trained checkpoints to self-describing ONNX graphs. Installed as ``portrait_sdk.converters``.

Modules here import each other relatively, because the same folder is ``converters`` in a checkout
(for ``training/``) and ``portrait_sdk.converters`` once installed.
"""
