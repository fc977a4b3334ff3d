"""How good an alpha is: datasets, metrics, reports."""

from portrait_sdk.evaluation.result import Evaluation
from portrait_sdk.evaluation.run import evaluate

__all__ = ["Evaluation", "evaluate"]
