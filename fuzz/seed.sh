#!/bin/sh
# Fills fuzz/corpus with the small real files of fixtures/, to begin fuzzing from.
# Usage: fuzz/seed.sh [FOLDER...], then RUSTC_BOOTSTRAP=1 cargo fuzz run hdf5_model, or another of
# fuzz_targets/, with -- -malloc_limit_mb=300 -timeout=10
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- ../fixtures
mkdir -p corpus/keras_archive corpus/hdf5_model corpus/model_json corpus/npy corpus/npz corpus/csv \
    corpus/sound_model corpus/torch corpus/safetensors corpus/onnx corpus/view_request \
    corpus/weights corpus/save corpus/checkpoint corpus/saved_model corpus/raw_data corpus/compile
find "$@" -type f -size -200k | while read -r file; do
    name=$(printf %s "$file" | tr -c 'A-Za-z0-9.\n' _)
    case $file in
    *.keras) cp "$file" "corpus/keras_archive/$name"; cp "$file" "corpus/save/$name" ;;
    */audio/*.json | *.nam) cp "$file" "corpus/sound_model/$name"; cp "$file" "corpus/save/$name" ;;
    *.h5 | *.hdf5) cp "$file" "corpus/hdf5_model/$name" ;;
    *.json) cp "$file" "corpus/model_json/$name"; cp "$file" "corpus/raw_data/$name" ;;
    *.npy) cp "$file" "corpus/npy/$name" ;;
    *.npz) cp "$file" "corpus/npz/$name" ;;
    *.msgpack) cp "$file" "corpus/weights/$name" ;;
    *.onnx) cp "$file" "corpus/onnx/$name"; cp "$file" "corpus/save/$name" ;;
    *.csv) cp "$file" "corpus/csv/$name"; cp "$file" "corpus/raw_data/$name" ;;
    *.pt | *.pth | *.ckpt) cp "$file" "corpus/torch/$name" ;;
    *.safetensors) cp "$file" "corpus/safetensors/$name" ;;
    esac
    case $file in
    *.pt)
        if unzip -p "$file" '*/data.pkl' >"corpus/torch/$name.pkl" 2>/dev/null; then :; fi
        ;;
    *.index)
        # How long the index is, in two bytes, the index, the data.
        numbers=${file%.index}.data-00000-of-00001
        size=$(wc -c <"$file")
        # shellcheck disable=SC2059 # the format is made here
        printf "$(printf '\\%03o\\%03o' $((size % 256)) $((size / 256)))" >"corpus/checkpoint/$name"
        cat "$file" "$numbers" >>"corpus/checkpoint/$name"
        ;;
    *.pb) cp "$file" "corpus/saved_model/$name" ;;
    *.keras)
        if unzip -p "$file" config.json >"corpus/model_json/$name.json" 2>/dev/null; then :; fi
        cp "corpus/model_json/$name.json" "corpus/compile/$name"
        if unzip -p "$file" model.weights.h5 >"corpus/hdf5_model/$name.h5" 2>/dev/null; then :; fi
        ;;
    esac
done

# What travels with a model of `ifco fit`, a tagged sentence, a description of a new model.
raw() { printf "$2" >"corpus/raw_data/$1"; }
raw forecast '{"ifco":1,"task":"forecast","columns":["a","b"],"target":1,"window":4,"horizon":2}'
raw generate '{"ifco":1,"task":"generate","level":"word","vocabulary":[" the"]}'
raw tag '{"ifco":1,"task":"tag","words":[],"endings":[],"shapes":["x"],"tags":["NOUN"]}'
raw classify '{"ifco":1,"task":"classify","series":["t0"],"label":"l","labels":["a","b"]}'
raw conllu '# s\n1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n\n'
raw toml 'input = ["any", 3]\n[[layers]]\nclass = "LSTM"\nunits = 4\n[compile]\nloss = "mse"\n'

# What a model is compiled with: each optimizer, and losses and metrics with options.
compiled() { printf '{"optimizer":%s,"loss":%s,"metrics":%s}' "$2" "$3" "$4" >"corpus/compile/$1"; }
for name in sgd rmsprop adam adamw adamax nadam adagrad adadelta lion; do
    compiled "$name" "\"$name\"" '"mse"' '["mae"]'
done
compiled options '{"class_name":"Adam","config":{"learning_rate":{"class_name":"CosineDecay","config":{"initial_learning_rate":0.1,"decay_steps":10}},"clipnorm":1.0,"weight_decay":0.01,"use_ema":true,"ema_momentum":0.9,"amsgrad":true}}' \
    '{"class_name":"CategoricalCrossentropy","config":{"label_smoothing":0.1,"from_logits":true}}' \
    '[{"class_name":"AUC","config":{"num_thresholds":20}},"accuracy",{"class_name":"F1Score","config":{"average":"macro"}}]'

# A request on the page: the method (even for GET, odd for POST), the target, the body.
request() {
    printf '%s%s\n%s' "$1" "$2" "$3" >"corpus/view_request/page_$(printf %s "$2$3" | tr -c 'A-Za-z0-9' _)"
}
for target in '' info page.js page.css 'column?cell=0&unit=1' 'picture?cell=0&part=1&rows=1&columns=8' \
    'maps?run=0&trace=0&from=0&to=3&bins=3&first=0&last=3&shows=0' \
    'maps?run=0&trace=0&from=0&to=3&bins=2&first=1&last=2&shows=2' \
    'curves?run=0&trace=0&unit=1&bins=2' 'raw?run=0&trace=0&array=0' 'step?run=0&trace=0&step=2' \
    'weights?cell=0' 'down?cell=0&part=4&column=0' 'flow?run=0&trace=0&output=0&of=0&at=0' \
    'flow?run=0&trace=0&output=0&of=4&at=1' 'parts?run=0&trace=0&output=0&of=1&at=0' \
    'flowmaps?run=0&trace=0&output=0&of=2&at=0&from=0&to=3&bins=2' \
    'flowstep?run=0&trace=0&output=0&of=0&at=0&step=2'; do
    request 0 "$target" ''
done
for body in '{"row": 0}' '{"row": 1}' '{"on": 0}' '{"texts": ["a b c"], "before": 0}' \
    '{"texts": ["1, 2\n3, 4\n5, 6"], "before": 0}'; do
    request 1 run "$body"
done
