#!/bin/sh
# Runs a compiler by ccache, given as arguments. A precompiled header that is there already goes first: GCC would read it
# in place of the headers, and ccache would then hold the new one for a copy of it.
for word; do
  case "$before $word" in "-o "*.gch) rm -f "$word" ;; esac
  before=$word
done
exec "$@"
