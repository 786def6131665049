"""Addresses against block lists: lower-case ASCII bytes in, 64-bit keys and bit masks of lists out. No files, no recipe.

A key stands for a domain (hashed from its end, so that every suffix of a host is met on the way) or for an address (host and path,
hashed from its beginning, so that every prefix is). May import curate.jit and text.kernels only. All constants are uint64.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import mix

_DOMAIN = np.uint64(0xCBF29CE484222325)  # FNV-1a's offset basis and prime; `mix` finishes a key
_ADDRESS = np.uint64(0x9AE16A3B2F90404F)
_PRIME = np.uint64(0x100000001B3)
DOT, SLASH, HASH, COLON, STAR = 0x2E, 0x2F, 0x23, 0x3A, 0x2A


@inner
def _step(h, byte):
    return (h ^ np.uint64(byte)) * _PRIME


@inner
def _mask_of(key, keys, masks):
    """masks[i] where keys[i] == key (keys sorted, distinct), else 0."""
    low, high = 0, keys.shape[0]
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    if low < keys.shape[0] and keys[low] == key:
        return masks[low]
    return np.uint64(0)


@inner
def _after_www(data, start, end):
    if end - start > 4 and data[start] == 0x77 and data[start + 1] == 0x77 and data[start + 2] == 0x77 and data[start + 3] == DOT:
        return start + 4
    return start


@kernel
def list_keys(data, domains, addresses):
    """Lines of a list as keys: (n domains, n addresses) written. An entry with a path is an address, any other a domain.

    Lines are trimmed; # begins a comment line; a scheme, a leading `*.` or `.`, a port and a last dot or slash say nothing.
    """
    n_domains, n_addresses = 0, 0
    n = data.shape[0]
    at = 0
    while at < n:
        stop = at
        while stop < n and data[stop] != 0x0A:
            stop += 1
        start, end = at, stop
        at = stop + 1
        while start < end and data[start] <= 0x20:
            start += 1
        while end > start and data[end - 1] <= 0x20:
            end -= 1
        if start == end or data[start] == HASH:
            continue
        for i in range(start, end - 2):
            if data[i] == COLON and data[i + 1] == SLASH and data[i + 2] == SLASH:
                start = i + 3
                break
            if data[i] == SLASH:
                break
        while end > start and data[end - 1] == SLASH:
            end -= 1
        slash = start
        while slash < end and data[slash] != SLASH:
            slash += 1
        if slash == end:
            while start < end and (data[start] == STAR or data[start] == DOT):
                start += 1
            colon = start
            while colon < end and data[colon] != COLON:
                colon += 1
            end = colon
            while end > start and data[end - 1] == DOT:
                end -= 1
            if start == end:
                continue
            h = _DOMAIN
            for i in range(end - 1, start - 1, -1):
                h = _step(h, data[i])
            domains[n_domains] = mix(h)
            n_domains += 1
        else:
            h = _ADDRESS
            for i in range(_after_www(data, start, slash), end):
                h = _step(h, data[i])
            addresses[n_addresses] = mix(h)
            n_addresses += 1
    return n_domains, n_addresses


@kernel
def listed(data, start, host_end, end, domains, domain_masks, addresses, address_masks, found):
    """found[i] = the lists that name data[start[i]:end[i]], an address whose host ends at host_end[i]; 0 where both are equal.

    A listed domain covers its subdomains; a listed address covers what goes on after it with one of / ? & ; # or ends there.
    """
    for i in range(start.shape[0]):
        mask = np.uint64(0)
        if host_end[i] > start[i]:
            h = _DOMAIN
            for j in range(host_end[i] - 1, start[i] - 1, -1):
                if data[j] == DOT:
                    mask |= _mask_of(mix(h), domains, domain_masks)
                h = _step(h, data[j])
            mask |= _mask_of(mix(h), domains, domain_masks)
            if addresses.shape[0] > 0 and end[i] > host_end[i]:
                h = _ADDRESS
                for j in range(_after_www(data, start[i], host_end[i]), end[i]):
                    c = data[j]
                    is_end = c in (SLASH, HASH, 0x3F, 0x26, 0x3B)
                    if is_end and j > host_end[i]:
                        mask |= _mask_of(mix(h), addresses, address_masks)
                    h = _step(h, c)
                mask |= _mask_of(mix(h), addresses, address_masks)
        found[i] = mask
