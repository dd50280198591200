"""A TPU pod or many GPUs: as configs/bilevel.py, 64 styles a step, pictures in device memory.

    # before, once: large files in the place of many small ones (docs/scaling.md)
    metastyle prepare PHOTOGRAPHS --name=photographs --out=DIR --short-side=320
    metastyle prepare ARTWORKS --name=artworks --out=DIR --short-side=320
    # what a step needs, without a TPU
    python train.py --config=configs/pod.py --compile-only --topology=v5e:16x16

    # Cloud TPU, v5litepod-256: on every host
    gcloud compute tpus tpu-vm ssh NAME --worker=all --command="cd metastyle_jax && \\
        python train.py --config=configs/pod.py --workdir=runs/pod DATA"
    # GKE, by xpk
    xpk workload create --workload=pod --tpu-type=v5litepod-256 \\
        --command="python train.py --config=configs/pod.py --workdir=runs/pod DATA"
    # Slurm: one process a node
    srun --ntasks-per-node=1 python train.py --config=configs/pod.py --workdir=runs/pod DATA
    # one machine with 8 GPUs
    python train.py --config=configs/pod.py --workdir=runs/pod DATA --config.batch.styles=8

DATA is --config.data.tfds_dir=DIR --config.data.content=tfds:photographs:train
--config.data.style=tfds:artworks:train.

Hardware: on 256 chips 64 styles x 4 contents are one of each on a chip. 118,000 photographs (COCO)
and 81,000 artworks (WikiArt), squares of 308 px, are 57 GB, 0.22 GB on each chip. Not run
on such a slice, and at this size not compiled for one yet (docs/scaling.md): time, memory and loss
are not known.
"""

import ml_collections

from configs import bilevel


def get_config() -> ml_collections.ConfigDict:
    config = bilevel.get_config()
    config.batch.styles = 64
    config.model.dtype = "bfloat16"
    config.features.dtype = "bfloat16"
    config.data.cache = "device"
    config.data.max_scale = 1.2
    config.outer.steps = 20_000
    config.log.every = 20
    return config
