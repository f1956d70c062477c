#!/usr/bin/env bash
# Makes a virtual environment with the frameworks that ifco is compared with, unless it is
# there: frameworks.sh REQUIREMENTS FOLDER
set -euo pipefail
requirements=$1
folder=$2
[ -e "$folder/complete" ] && exit 0
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
# tf_keras asks for the full tensorflow, which tensorflow-cpu stands in for, and tf2onnx for an
# older protobuf than TensorFlow.
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps tf_keras==2.21.0 tf2onnx==1.17.0
touch "$folder/complete"
