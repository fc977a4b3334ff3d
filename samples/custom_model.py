"""Run an .onnx model of your own: ``python samples/custom_model.py MODEL.onnx PHOTO CUTOUT.png``.

The runtime needs to know how to feed a model. Write it into the file once (this needs the package
``onnx``); from then on the file describes itself. The numbers below are those of MODNet, for which
``portrait adopt --profile modnet`` does the same and checks the result on a portrait.
"""

import sys
from pathlib import Path

import onnx

import portrait_sdk
from portrait_sdk.converters import metadata
from portrait_sdk.spec import Filter, InputSpec, ModelSpec, OutputSpec, SizePolicy

source, photo, out = map(Path, sys.argv[1:4])
model = onnx.load(source)
size = SizePolicy(
    rule="short-side",
    side=512,
    leave_straddling=True,
    multiple=32,
    rounding="down",
    filter=Filter(kernel="area"),
)
spec = ModelSpec(
    name=source.stem,
    architecture="modnet",
    license="Apache-2.0",
    input=InputSpec(
        name=model.graph.input[0].name, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=size
    ),
    outputs=(OutputSpec(name=model.graph.output[0].name, meaning="alpha"),),
)
metadata.write(model, spec)
described = out.with_name(f"{out.stem}-described.onnx")
onnx.save(model, described)

with portrait_sdk.load(described) as matting:
    portrait_sdk.save_image(matting.matte(photo).cutout(), out)
print(f"{out}, by {described}")
