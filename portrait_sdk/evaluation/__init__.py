"""How good an alpha is: datasets, metrics, reports."""
