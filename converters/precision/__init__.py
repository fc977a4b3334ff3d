"""Lower precisions of a converted model: fp16 and int8, each chosen and judged by measurement."""
