// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/tests/certificate"
)

// What the deeds send.
const (
	contentQuestion = "POST /order HTTP/1.1\r\nHost: shop\r\nContent-Length: 24\r\n\r\ncard=4111 1111 1111 1111"
	contentAnswer   = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthank you"
	// The begin of a ClientHello.
	contentHello = "\x16\x03\x01\x00\x40\x01\x00\x00\x3chello"
	contentLarge = 700000
)

// largeText is different in each of its parts.
func largeText(size int) []byte {
	text := make([]byte, size)
	for i := range text {
		text[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[(i+i/36+i/1000)%36]
	}
	return text
}

// deedContent asks a server of its own by TCP, in two writes, and by UDP.
func deedContent(s say) error {
	s["tcp"] = 0
	err := serve(nil, func(client net.Conn) error {
		if _, err := client.Write([]byte(contentQuestion[:30])); err != nil {
			return err
		}
		if _, err := client.Write([]byte(contentQuestion[30:])); err != nil {
			return err
		}
		s["tcp"] = int64(client.RemoteAddr().(*net.TCPAddr).Port)
		return expectText(client, contentAnswer)
	}, func(server net.Conn) error {
		if err := expectText(server, contentQuestion); err != nil {
			return err
		}
		_, err := server.Write([]byte(contentAnswer))
		return err
	})
	if err != nil {
		return err
	}
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Write([]byte("datagram " + contentQuestion)); err != nil {
		return err
	}
	_, _, err = server.ReadFrom(make([]byte, 4096))
	return err
}

// deedContentLarge sends more at once than a packet or a record holds.
func deedContentLarge(say) error {
	text := largeText(contentLarge)
	return serve(nil, func(client net.Conn) error {
		if _, err := client.Write(text); err != nil {
			return err
		}
		return expectText(client, "ok")
	}, func(server net.Conn) error {
		got := make([]byte, len(text))
		if _, err := io.ReadFull(server, got); err != nil {
			return err
		}
		if !bytes.Equal(got, text) {
			return errors.New("another text came")
		}
		_, err := server.Write([]byte("ok"))
		return err
	})
}

// deedContentTLS waits until it is told that it was found, then asks by Go's TLS.
func deedContentTLS(say) error {
	if _, err := os.NewFile(4, "go").Read(make([]byte, 1)); err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true}
	return serve(config, func(client net.Conn) error {
		if _, err := client.Write([]byte(contentQuestion)); err != nil {
			return err
		}
		if err := expectText(client, contentAnswer); err != nil {
			return err
		}
		_, err := client.Write(largeText(20000))
		return err
	}, func(server net.Conn) error {
		if err := expectText(server, contentQuestion); err != nil {
			return err
		}
		if _, err := server.Write([]byte(contentAnswer)); err != nil {
			return err
		}
		_, err := io.ReadFull(server, make([]byte, 20000))
		return err
	})
}

// serve has a client and a server talk, by TLS where there is a configuration of it; the server's connection is wrapped then.
func serve(config *tls.Config, client, server func(net.Conn) error) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close()
		if config != nil {
			c = tls.Server(&countedConn{&limitedConn{Conn: c}, "server"}, config)
		}
		served <- server(c)
	}()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	if config != nil {
		c = tls.Client(c, config)
	}
	return errors.Join(client(c), <-served)
}

// limitedConn and countedConn wrap a connection as servers do that bound how many there are (netutil.LimitListener), or count them.
type limitedConn struct {
	net.Conn
	once sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() (err error) {
	c.once.Do(func() { err = c.Conn.Close() })
	return err
}

type countedConn struct {
	net.Conn
	name string
}

func expectText(c net.Conn, text string) error {
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("another text came: " + string(got))
	}
	return nil
}

// deedContentICMP sends an echo request by a raw socket.
func deedContentICMP(say) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	packet := append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, strings.Repeat("tunnel", 10)...)
	return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
}

// selfSigned makes a certificate for localhost.
func selfSigned() (tls.Certificate, error) {
	cert, key, err := certificate.SelfSigned("localhost")
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// deedContentOpaque begins as TLS does, goes on in the clear, and stays until it is told to end.
func deedContentOpaque(say) error {
	return serve(nil, func(client net.Conn) error {
		if _, err := client.Write([]byte(contentHello)); err != nil {
			return err
		}
		if err := expectText(client, "ok"); err != nil {
			return err
		}
		if _, err := client.Write([]byte(contentQuestion)); err != nil {
			return err
		}
		_, err := os.NewFile(4, "end").Read(make([]byte, 1))
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}, func(server net.Conn) error {
		if err := expectText(server, contentHello); err != nil {
			return err
		}
		if _, err := server.Write([]byte("ok")); err != nil {
			return err
		}
		return expectText(server, contentQuestion)
	})
}
