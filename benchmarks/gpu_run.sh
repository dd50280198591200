#!/usr/bin/env bash
# Minutes on a bare GPU machine, planned: each section has its own time limit and writes what it has
# so far, so that nothing is lost when time runs out. A section that fails or runs out of time does
# not stop those behind it.
#
#   benchmarks/gpu_run.sh                    check, train, sliders, pictures, speed, memory: this order
#   benchmarks/gpu_run.sh check train        these only
#
#   check    exact = reverse on the GPU, and losses as on the CPU: check.json
#   train    meta-training at 256 px: params.safetensors, moments_*.safetensors, curves.csv
#   sliders  the sliders (configs/meta_adjustable.py) of what train made: sliders/
#   pictures small pictures drawn together, against tiles (metastyle serve --batch): pictures.json
#   speed    matrix products, roofline, steps against PyTorch: speed.json
#   memory   peak bytes at T = 1, 5, 16 of exact, reverse, PyTorch: memory.json
#
# The machine needs python3 with jax, flax, optax, orbax-checkpoint, safetensors, numpy, pillow and
# cloudpickle; speed and memory need PyTorch too. What else is needed lies in the folder PACK:
#
#   PACK/wheels/*.whl                      grain, ml-collections ..., installed if they are missing
#   PACK/content.tar, PACK/style.tar       photographs and artworks: JPEGs, short side 264 or so
#   PACK/vgg16_relu4_3_fp16.safetensors    VGG-16 to conv4_3 with torchvision's key names
#
# Variables (default):
#   PACK (.gpu), OUT (out/gpu)     folders; OUT gets at most 8 files, each below 16 MiB
#   LIMIT_CHECK (90), LIMIT_TRAIN (410), LIMIT_SLIDERS (110), LIMIT_PICTURES (60), LIMIT_SPEED (240),
#   LIMIT_MEMORY (90)
#                                  seconds; a step takes an H200 with 16 cores a minute to compile
#   START (embedded)               a params.safetensors that the training begins with
#   RESUME                         folder with the files of an earlier train, to go on with
#   TRAIN_FLAGS                    more flags of benchmarks/gpu_train.py, such as
#                                  "--inner-steps 1 --set outer.learning_rate=2e-4"
#   DEVICE (cuda)                  cpu to try this script
#   GPU_RUN_SMALL                  1: tiny sizes, two steps of everything
#
# The rate of the training is constant for half of its time and then falls linearly to 0, so with a
# shorter LIMIT_TRAIN it is a whole training too. All output is also in OUT/log.txt.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
PACK="${PACK:-.gpu}" OUT="${OUT:-out/gpu}" DEVICE="${DEVICE:-cuda}"
mkdir -p "$OUT" || exit
vgg16="vgg16:$PACK/vgg16_relu4_3_fp16.safetensors"
export PYTHONUNBUFFERED=1

# one residual block: most of the time goes into compiling the CPU's side
check=(python3 benchmarks/gpu_check.py --features "$vgg16" --json "$OUT/check.json"
  --count 1 --residual-blocks 1)
# the training ends by itself before its limit, to write its files
train=(python3 benchmarks/gpu_train.py --pack "$PACK" --out "$OUT" --start "${START:-embedded}"
  --seconds "$((${LIMIT_TRAIN:-410} - 20))")
sliders=(python3 benchmarks/gpu_train.py --config meta_adjustable --pack "$PACK"
  --start "$OUT/params.safetensors" --adjuster adjustable --out "$OUT/sliders"
  --seconds "$((${LIMIT_SLIDERS:-110} - 10))")
[ -n "${RESUME:-}" ] && train+=(--resume-from "$RESUME")
same=(--device "$DEVICE" --features "$vgg16")
roofline=(python3 benchmarks/roofline.py "${same[@]}" --dtype bfloat16 --json "$OUT/speed.json")
pytorch=(python3 benchmarks/against_pytorch.py "${same[@]}" --json "$OUT/speed.json"
  --no-memory --go-on --seconds 5 --inner-steps 1)
pictures=(python3 benchmarks/small_pictures.py --json "$OUT/pictures.json")
memory=(python3 benchmarks/gpu_memory.py "${same[@]}" --json "$OUT/memory.json")
if [ -n "${GPU_RUN_SMALL:-}" ]; then
  check+=(--features compact --size 32 --count 1 --width 8 --residual-blocks 0)
  small=(--size 32 --pictures 8 --steps 2 --per-dispatch 1 --save-every 1)
  train+=("${small[@]}")
  sliders+=("${small[@]}")
  roofline+=(--matrix 256 --copy 100000 --repeat 1 --match "inference 512 px")
  pytorch+=(--size 32 --counts 1 --repeat 1 --match "T=1 exact")
  pictures+=(--side 32 --count 2 --repeat 1)
  memory+=(--size 32 --steps 1 2 --processes 1)
else
  roofline+=(--matrix 8192 --match "256 px 4x4" "inference 512 px")
  pytorch+=(--size 256 --counts 4 --match "inference 512" "T=1 exact" "256 px norm")
fi
read -ra flags <<<"${TRAIN_FLAGS:-}"
train+=("${flags[@]}")

failed=0
limited() { # limited NAME SECONDS COMMAND...
  local name="$1" limit="$2" begin=$SECONDS status=0
  shift 2
  echo "== $name: at most $limit s"
  timeout --kill-after=5 "$limit" "$@" || status=$?
  case $status in
    0) echo "== $name: done in $((SECONDS - begin)) s" ;;
    124 | 137) echo "== $name: out of time after $limit s" ;;
    *) echo "== $name: failed with exit code $status after $((SECONDS - begin)) s" ;;
  esac
  [ "$status" = 0 ] || failed=1
}

quickly() { # what is not timed need not be compiled with the fastest kernels
  XLA_FLAGS="${XLA_FLAGS:-} $([ "$DEVICE" = cpu ] || echo --xla_gpu_autotune_level=0)" "$@"
}

speed() {
  local limit="${LIMIT_SPEED:-240}" end
  end=$((SECONDS + limit))
  limited "speed, roofline" "$((limit * 2 / 5))" "${roofline[@]}"
  # first without torch.compile, which may take all the time there is
  limited "speed, PyTorch" "$((end - SECONDS))" "${pytorch[@]}" --no-compile
  [ "$SECONDS" -ge "$end" ] ||
    limited "speed, PyTorch compiled" "$((end - SECONDS))" "${pytorch[@]}"
}

section() {
  case "$1" in
    check) quickly limited check "${LIMIT_CHECK:-90}" "${check[@]}" ;;
    train) limited train "${LIMIT_TRAIN:-410}" "${train[@]}" ;;
    sliders) limited sliders "${LIMIT_SLIDERS:-110}" "${sliders[@]}" ;;
    pictures) quickly limited pictures "${LIMIT_PICTURES:-60}" "${pictures[@]}" ;;
    # JAX and PyTorch, and several processes, share the card
    speed) XLA_PYTHON_CLIENT_PREALLOCATE=false JAX_COMPILATION_CACHE_DIR="$scratch/xla" speed ;;
    memory)
      XLA_PYTHON_CLIENT_PREALLOCATE=false \
        quickly limited memory "${LIMIT_MEMORY:-90}" "${memory[@]}"
      ;;
    *) echo "there is no section $1: use check, train, sliders, pictures, speed, memory" && failed=1 ;;
  esac
}

main() {
  scratch="$(mktemp -d)"
  trap 'rm -rf "$scratch"' EXIT
  export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
  if ! python3 -c "import grain, ml_collections, tensorboardX" 2>/dev/null; then
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
      --disable-pip-version-check --target "$scratch/site" "$PACK"/wheels/*.whl
    PYTHONPATH="$PYTHONPATH:$scratch/site"
  fi
  for name in "$@"; do section "$name"; done
  ls -l "$OUT"
  return "$failed"
}

[ $# -gt 0 ] || set -- check train sliders pictures speed memory
main "$@" 2>&1 | tee "$OUT/log.txt"
