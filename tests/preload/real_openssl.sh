#!/bin/sh
# real_openssl.sh - digests, ciphers there and back, signatures with a fixed key, certificates

. "$(dirname "$0")/common.sh"
need_program openssl

prepare() {
    pseudo_random_lines 200000 5 >data
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2>/dev/null
    openssl req -x509 -key key.pem -subj /CN=example.org -days 1 -out certificate.pem 2>/dev/null
}

workload() {
    key=000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f
    iv=0f0e0d0c0b0a09080706050403020100
    for digest in sha1 sha256 sha512 sha3-256 blake2b512 md5; do
        openssl dgst -$digest -r <"$DATA/data"
    done
    openssl dgst -sha256 -hmac secret -r "$DATA/data"
    for cipher in aes-256-cbc aes-256-ctr chacha20 camellia-256-cbc; do
        openssl enc -$cipher -K $key -iv $iv -in "$DATA/data" -out "data.$cipher"
        openssl dgst -sha256 -r "data.$cipher"
        openssl enc -d -$cipher -K $key -iv $iv -in "data.$cipher" | cmp - "$DATA/data"
    done
    openssl base64 -in "$DATA/data" | openssl base64 -d | cmp - "$DATA/data"
    openssl dgst -sha256 -sign "$DATA/key.pem" -out signature "$DATA/data"
    openssl dgst -r -sha256 signature
    openssl pkey -in "$DATA/key.pem" -pubout -out public.pem
    openssl dgst -sha256 -verify public.pem -signature signature "$DATA/data"
    openssl x509 -in "$DATA/certificate.pem" -noout -text
    openssl verify -CAfile "$DATA/certificate.pem" "$DATA/certificate.pem"
    openssl pkey -in "$DATA/key.pem" -noout -text
    openssl prime -generate -bits 256 | wc -l
    openssl kdf -keylen 32 -kdfopt pass:secret -kdfopt salt:salt -kdfopt n:16384 -kdfopt r:8 \
        -kdfopt p:1 SCRYPT
}

compare_runs openssl version
