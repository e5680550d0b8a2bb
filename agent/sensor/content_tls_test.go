// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// contentSecret is what the clients below send.
const contentSecret = "card=5500 0000 0000 0004"

// byCurl has a flavour of libcurl send it, from Python.
const byCurl = `
import ctypes, sys
curl = ctypes.CDLL(sys.argv[1])
curl.curl_easy_init.restype = ctypes.c_void_p
handle = ctypes.c_void_p(curl.curl_easy_init())
def option(number, value):
    assert curl.curl_easy_setopt(handle, ctypes.c_int(number), value) == 0
option(10002, ctypes.c_char_p(sys.argv[2].encode()))
option(64, ctypes.c_long(0))
option(81, ctypes.c_long(0))
option(10165, ctypes.c_char_p(sys.argv[3].encode()))
sys.exit(curl.curl_easy_perform(handle))
`

// byPython has Python's own library send it.
const byPython = `
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], sys.argv[2].encode(), context=context).read())
`

// contentClients are programs that send a secret to an address, by the library that they do it with.
var contentClients = []struct {
	name string
	via  wire.Via
	args func(url string) []string
}{
	{"curl", wire.ViaOpenssl, func(url string) []string {
		return []string{"/usr/bin/curl", "-sk", "--data", contentSecret, url}
	}},
	{"curl, HTTP 1", wire.ViaOpenssl, func(url string) []string {
		return []string{"/usr/bin/curl", "-sk", "--http1.1", "--data", contentSecret, url}
	}},
	{"python", wire.ViaOpenssl, func(url string) []string {
		return []string{"/usr/bin/python3", "-c", byPython, url, contentSecret}
	}},
	{"gnutls", wire.ViaGnutls, func(url string) []string {
		return []string{"/usr/bin/python3", "-c", byCurl, "libcurl-gnutls.so.4", url, contentSecret}
	}},
	{"nss", wire.ViaNss, func(url string) []string {
		return []string{"/usr/bin/python3", "-c", byCurl, "libcurl-nss.so.4", url, contentSecret}
	}},
}

// TestTLSLibraries has programs with each library send a secret to a server. They are Debian's, which no machine of the tests on
// other kernels has.
func TestTLSLibraries(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	r := newContentRig(t, ContentConfig{})
	for i, client := range contentClients {
		t.Run(client.name, func(t *testing.T) {
			whole := r.t
			r.t = t
			defer func() { r.t = whole }()
			testContentClient(t, r, i, client.via)
		})
	}
}

func testContentClient(t *testing.T, r *contentRig, client int, via wire.Via) {
	c := r.inspected(leaving, Budget{})
	read, write, err := os.Pipe()
	must(t, err)
	defer write.Close()
	d := c.beginIn(unix.CLONE_NEWNS, "content client", read)
	read.Close()
	r.untilSearched(t, c.id)
	_, err = fmt.Fprintf(write, "%d\n", client)
	must(t, err)
	said := d.end().said
	sent := func(p *piece) bool {
		return wire.Via(p.Via) == via && p.is(wire.ContentOut) && int64(p.RemotePort) == said["port"]
	}
	r.has(c.id, "what a client sends", contentSecret, sent)
	for _, p := range r.of(c.id, sent) {
		if p.Cookie == 0 || int64(p.Head.Tgid) != said["pid"] || p.is(wire.ContentInbound) || p.LocalPort == 0 {
			t.Errorf("within TLS: %+v", p.Content)
		}
	}
	r.checkTLS(t, c.id)
}

// untilSearched waits until the usual folders of a container were looked through.
func (r *contentRig) untilSearched(t *testing.T, container uint64) {
	t.Helper()
	r.until(t, "the container is looked through", func() bool {
		r.content.files.mu.Lock()
		defer r.content.files.mu.Unlock()
		return r.content.files.searched[container]
	})
}

// deedContentClient serves HTTPS and runs the client that it is told of.
func deedContentClient(s say) error {
	var client int
	if _, err := fmt.Fscanln(os.NewFile(4, "client"), &client); err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			if err != nil || !strings.Contains(string(body), contentSecret) {
				http.Error(w, "another text came", http.StatusBadRequest)
			}
		}),
	}
	go func() { _ = server.ServeTLS(l, "", "") }()
	defer server.Close()
	args := contentClients[client].args("https://" + l.Addr().String() + "/")
	cmd := exec.Command(args[0], args[1:]...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, said)
	}
	s["pid"], s["port"] = int64(cmd.Process.Pid), int64(l.Addr().(*net.TCPAddr).Port)
	return nil
}
