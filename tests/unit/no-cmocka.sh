#!/bin/sh
# no-cmocka.sh - stands in for the unit tests where their library is missing
echo "unit tests need cmocka (Debian: libcmocka-dev), then configure again"
exit 77
