"""What the tests' own HTTP clients have in common: they speak to loopback, without TLS."""

import ssl

#: In place of the machine's certificates, which take each client 25 ms to read.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
