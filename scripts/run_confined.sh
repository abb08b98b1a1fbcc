#!/usr/bin/env bash
# Runs a bundle that nobody has vouched for where it can do little: no network, its folder and the input read-only, one
# output folder, nothing else of yours. Needs bubblewrap 0.8 or newer (apt-get install bubblewrap).
# Usage: scripts/run_confined.sh BUNDLE INPUT OUTPUT ARGUMENTS OF python ...
#   scripts/run_confined.sh theirs scans results -m monai.bundle run \
#       --config_file configs/inference.json --input /input --output_dir /output
# BUNDLE, INPUT and OUTPUT (an empty folder) are /bundle, /input and /output there; commands run in /bundle, on the CPU.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: scripts/run_confined.sh BUNDLE INPUT OUTPUT ARGUMENTS OF python ..." >&2
    exit 2
fi
end() { echo "error: $1" >&2; exit 1; }
command -v bwrap > /dev/null || end "bwrap: expected bubblewrap 0.8 or newer, got none; apt-get install bubblewrap."
checkout=$(realpath "$(dirname "$0")/..")
python=$(realpath -s "${PYTHON:-${VENV:-$checkout/.venv}/bin/python}")
[ -x "$python" ] || end "$python: expected a Python with the packages of requirements.txt, got none; PYTHON names another."
for each in "$1" "$2" "$3"; do [ -d "$each" ] || end "$each: expected a folder, got none."; done
bundle=$(realpath "$1") input=$(realpath "$2") output=$(realpath "$3")
shift 3
[ -z "$(ls -A "$output")" ] || end "$output: expected an empty folder, got one with files that could be overwritten."
# not the bundle's: -I keeps the folder this is called in away from Python
mapfile -t prefixes < <("$python" -I -c 'import sys; print(sys.prefix); print(sys.base_prefix)')
for each in "$bundle" "$input"; do
    case "$output/" in "$each"/*) end "$output: expected a folder apart, got one inside $each." ;; esac
done

places=(--ro-bind /usr /usr --proc /proc --dev /dev --tmpfs /tmp)
for each in /bin /sbin /lib /lib32 /lib64; do
    if [ -L "$each" ]; then places+=(--symlink "$(readlink "$each")" "$each"); else places+=(--ro-bind-try "$each" "$each"); fi
done
# A user namespace alone leaves root the owner of the kernel's settings.
for each in sys sysrq-trigger irq bus fs acpi scsi pressure; do
    [ ! -e "/proc/$each" ] || places+=(--ro-bind "/proc/$each" "/proc/$each")
done
for each in /etc/ld.so.cache /etc/alternatives /etc/fonts; do places+=(--ro-bind-try "$each" "$each"); done
for each in "${prefixes[@]}"; do
    case "$each/" in /usr/*) ;; *) places+=(--ro-bind "$each" "$each") ;; esac
done
places+=(--ro-bind "$checkout/dxa_monai" /checkout/dxa_monai)
places+=(--ro-bind "$bundle" /bundle --ro-bind "$input" /input --bind "$output" /output --chdir /bundle)
surroundings=(--clearenv --setenv PATH /usr/bin:/bin --setenv HOME /tmp --setenv USER confined --setenv LANG C.UTF-8)
surroundings+=(--setenv PYTHONPATH /checkout --setenv OMP_NUM_THREADS "${OMP_NUM_THREADS:-$(nproc)}")

# What this shell was given open would be open inside; a terminal can be read through an output, and takes commands from
# what is printed.
for each in /proc/$$/fd/*; do
    number=${each##*/}
    if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then exec {number}>&-; fi
done
set +e
bwrap --unshare-user --unshare-all --disable-userns --cap-drop ALL --new-session --die-with-parent \
    "${places[@]}" "${surroundings[@]}" "$python" "$@" < /dev/null 2>&1 | LC_ALL=C stdbuf -o0 tr -cd '\11\12\15\40-\176'
status=${PIPESTATUS[0]}
odd=$(find "$output" \( ! -type f ! -type d -o -perm /7000 \) -print -quit | LC_ALL=C tr -cd '\40-\176')
[ -z "$odd" ] || end "$odd: expected plain files, got a link, a pipe or a file with special permissions; do not use this output."
exit "$status"
