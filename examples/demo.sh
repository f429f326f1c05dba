#!/bin/sh
# The main job on the trained model of models/: real calibration images, labelled test images.
set -eu
cd "$(dirname "$0")/.."
out=build/demo
mkdir -p "$out"
bin=${ONNXPRESS:-build/onnxpress}
printf '\n== compress models/fashion_mnist.onnx to 8 bits\n'
"$bin" compress models/fashion_mnist.onnx -o "$out/fashion_mnist.int8.onnx" --precision w8a8 \
    --data models/fashion_mnist_calibration.npz --json "$out/report.json" --force
printf '\n== before and after on 2,000 and more labelled images that calibration never saw\n'
"$bin" compare models/fashion_mnist.onnx "$out/fashion_mnist.int8.onnx" \
    --data models/fashion_mnist_test.npz
before=$(wc -c < models/fashion_mnist.onnx)
after=$(wc -c < "$out/fashion_mnist.int8.onnx")
printf '\nsize    %s -> %s bytes\noutput  %s\nreport  %s\n' "$before" "$after" \
    "$out/fashion_mnist.int8.onnx" "$out/report.json"
