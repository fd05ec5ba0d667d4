#!/bin/sh
# Counts in the file `count`; each number is there whole or not at all.
i=0
while :; do
    i=$((i + 1))
    echo $i > new
    mv new count
    sleep 0.01
done
