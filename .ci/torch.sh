#!/usr/bin/env bash
# Makes a virtual environment with PyTorch, unless it is there: torch.sh REQUIREMENTS FOLDER FRAMEWORKS
# FRAMEWORKS is the one of frameworks.sh: what is in it is in this one too, and once on the disk.
set -euo pipefail
requirements=$1
folder=$2
frameworks=$3
[ -e "$folder/complete" ] && exit 0
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
python3 -m venv "$folder"
packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
packages "$frameworks" > "$(packages "$folder")/frameworks.pth"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps torch==2.15.0
"$folder/bin/python" -c 'import keras, onnxruntime, onnxscript, torch' 2> /dev/null
touch "$folder/complete"
