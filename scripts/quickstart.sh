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
bundle=bundles/dxa_vae/configs

# 1. A virtual cohort: raw six-channel scans, 3D meshes, and the exact fat, lean and bone of every pixel.
run configs/cohort.json --count 300 --output_dir data/cohort --seed 0

# 2. The DXA-VAE in two arms: one knows that the ratio of the energies tells fat from lean. Delete runs/quickstart/ARM to train an arm anew.
for arm in no_dxa energy_ratio; do
    if [ ! -f runs/quickstart/$arm/finished.json ]; then
        run "['$bundle/train.json','$bundle/arm_$arm.json','$bundle/preset_small.json','$bundle/mlflow.json']" \
            --dataset_dir data/cohort --output_dir runs/quickstart/$arm --resume True
    fi
done

# 3. Both arms on the people that neither has seen: the paper's tables 1 and 2 and figure 2.
run "['$bundle/evaluate.json','$bundle/mlflow_evaluation.json']" --dataset_dir data/cohort \
    --arms "{'no_dxa': 'runs/quickstart/no_dxa/best.pt', 'energy_ratio': 'runs/quickstart/energy_ratio/best.pt'}" \
    --output_dir runs/quickstart/evaluation

echo "Scans to look at:      data/cohort/contact_sheet.png"
echo "Reconstructions:       runs/quickstart/evaluation/figure_2.png"
echo "Compare runs in MLflow: $VENV/bin/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db   (http://127.0.0.1:5000)"
