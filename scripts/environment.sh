# Sourced by the other scripts: makes .venv with the pinned packages of the requirements files given, once.
# Usage: . scripts/environment.sh requirements.txt

if [ ! -x .venv/bin/python ]; then
    "${PYTHON:-python3.11}" -m venv .venv
fi

for requirements in "$@"; do
    stamp=".venv/$requirements.$(sha256sum requirements*.txt | sha256sum | cut -c1-16)"
    if [ ! -f "$stamp" ]; then
        echo "Installing $requirements (about four minutes and 8 GB the first time) ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
        touch "$stamp"
    fi
done
