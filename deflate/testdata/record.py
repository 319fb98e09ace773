"""Writes the digests of zlib's output for a folder of inputs to standard output.

    go test ./deflate -run TestZlib -inputs /tmp/inputs
    python3 deflate/testdata/record.py /tmp/inputs > deflate/testdata/zlib.txt

The tests read the digests; nothing but a change of the samples needs this.
"""

import hashlib
import pathlib
import sys
import zlib

root = pathlib.Path(sys.argv[1])
print(f"# Output of zlib {zlib.ZLIB_RUNTIME_VERSION}, compressobj(level, DEFLATED, 31), whole input at once.")
print("# sample level crc32-of-sample length-of-output sha256-of-output")


def order(path):
    return (path.parent.name, int(path.name))


for path in sorted(root.glob("*/*"), key=order):
    data = path.read_bytes()
    for level in range(4, 10):
        z = zlib.compressobj(level, zlib.DEFLATED, 31)
        out = z.compress(data) + z.flush()
        name = path.relative_to(root).as_posix()
        print(name, level, f"{zlib.crc32(data):08x}", len(out), hashlib.sha256(out).hexdigest())
