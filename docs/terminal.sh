#!/usr/bin/env bash
# Runs the commands that docs/terminal.svg shows; BUILD.md says how to record it.
say() { printf '\033[1m$ %s\033[0m\n' "$*"; eval "$*"; echo; }
cd "$(mktemp -d)" || exit
say tfrnn train --corpus=time_machine --run_dir=runs/wells --show_every=250
say tfrnn sample --run_dir=runs/wells --checkpoint=last --prefix="'time traveller '" --length=80 --temperature=0.7
say tfrnn evaluate --run_dir=runs/wells --checkpoint=last --part=training
