#!/usr/bin/env bash
# The main job from nothing: make raw scans of 300 virtual people, pretrain the DXA-VAE on them with and without the
# DXA loss, compare both on people held out. About a quarter of an hour on two cores; a second call reuses what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh requirements.txt
# These networks are small: with a thread a core, and anything else at work, threads wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

run() {
    "$VENV/bin/python" -m monai.bundle run --config_file "$@"
}

# 1. A virtual cohort: raw six-channel scans, 3D meshes, and the exact fat, lean and bone of every pixel.
run configs/cohort.json --count 300 --output_dir data/cohort --seed 0

# 2. The DXA-VAE in two arms, side by side: one knows that the ratio of the energies tells fat from lean. Then both on
# the people that neither has seen: the paper's tables 1 and 2 and figure 2. Delete runs/quickstart/ARM-seed0 to train an
# arm anew.
run bundles/dxa_vae/configs/compare.json --dataset_dir data/cohort --output_dir runs/quickstart --seeds "[0]" \
    --arms "{'no_dxa': 'arm_no_dxa.json', 'energy_ratio': 'arm_energy_ratio.json'}" \
    --tracking_uri sqlite:///runs/mlflow.db

echo "Scans to look at:      data/cohort/contact_sheet.png"
echo "Reconstructions:       runs/quickstart/evaluation/figure_2.png"
echo "Compare runs in MLflow: $VENV/bin/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db   (http://127.0.0.1:5000)"
