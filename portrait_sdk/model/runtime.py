"""The one door to ONNX Runtime: imported on first use, with its telemetry off.

From 1.29 on, ONNX Runtime's own wheels write a device identifier into the user's cache folder when
imported and report events to Microsoft, unless ``ORT_DISABLE_TELEMETRY`` is set before. We set it,
where the user has not set it to something else; "nothing phoned home" would not be true otherwise.
"""

from __future__ import annotations

import os
from typing import Any

from portrait_sdk.errors import ProviderError

TELEMETRY_VARIABLE = "ORT_DISABLE_TELEMETRY"
"""ONNX Runtime's own switch; a value the user has set is left alone."""


def onnxruntime() -> Any:  # noqa: ANN401 - a module without stubs
    """Import and return ``onnxruntime``.

    Raises:
        ProviderError: It is not there, or broken.
    """
    os.environ.setdefault(TELEMETRY_VARIABLE, "1")
    try:
        import onnxruntime as module

        if telemetry_off():
            # For an application that imported it before us, when the variable came too late.
            module.disable_telemetry_events()
        _ = module.InferenceSession
    except (ImportError, AttributeError) as error:
        raise ProviderError(
            f"ONNX Runtime is installed only in part or not at all ({error}); "
            "`pip install --force-reinstall onnxruntime-gpu` (or onnxruntime) mends it"
        ) from error
    return module


def telemetry_off() -> bool:
    """Whether ONNX Runtime's telemetry is switched off in this process."""
    return os.environ.get(TELEMETRY_VARIABLE, "1").strip().lower() not in ("", "0", "false", "no")
