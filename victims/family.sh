#!/bin/sh
# Starts two hundred children, each of which sleeps, and waits for them.
i=0
while [ $i -lt 200 ]; do
    i=$((i + 1))
    sleep 20 &
done
wait
