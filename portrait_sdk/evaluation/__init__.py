"""How good an alpha is: metrics with stated formulas, regions, and papers' own scalings."""
