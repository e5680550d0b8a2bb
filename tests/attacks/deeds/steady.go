// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func steadyDeeds() []deed {
	return []deed{
		{"serve", "ADDR", 1, 1, "take connections at ADDR and close them", serve},
		{"steady", "ORDERS FILE ADDR NAME:PORT", 4, 4, "do what ORDERS says, again and again: execs, opens of FILE, connects", steady},
		{"relay", "DEPTH FILE", 2, 2, "start one another DEPTH times, and then the program that FILE names", relay},
	}
}

func serve(args []string) error {
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return outcome("listen", err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
}

// steady reads orders from a file: a number, how many deeds of each kind are to be done, and the program that a relay is to
// end with. It says when it has done those of a number, and waits for the next. The name is asked for once.
func steady(args []string) error {
	host, port, err := net.SplitHostPort(args[3])
	if err != nil {
		return err
	}
	found, err := net.LookupHost(host)
	if err != nil {
		return err
	}
	peers := []string{args[2], net.JoinHostPort(found[0], port)}
	for done := 0; ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		order := strings.Fields(string(text))
		if len(order) != 3 {
			continue
		}
		number, err := strconv.Atoi(order[0])
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(order[1])
		if err != nil {
			return err
		}
		if number == done {
			continue
		}
		done = number
		began := time.Now()
		err = round(count, args[0], args[1], peers)
		fmt.Printf("order %d: %v in %s\n", number, errors.Join(err), time.Since(began).Round(time.Millisecond))
	}
}

func round(count int, orders, file string, peers []string) error {
	for range count {
		if err := start("/bin/true", []string{"/bin/true"}, nil); err != nil {
			return err
		}
		fd, err := unix.Open(file, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return outcome("open "+file, err)
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
		for _, peer := range peers {
			if err := knock(peer); err != nil {
				return err
			}
		}
	}
	return start(self, []string{"deeds", "relay", "2", orders}, nil)
}

// knock connects and breaks the connection off, so that no port stays taken.
func knock(addr string) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return outcome("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	return outcome("connect "+addr, unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
}

func relay(args []string) error {
	depth, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if depth > 0 {
		return start(self, []string{"deeds", "relay", strconv.Itoa(depth - 1), args[1]}, nil)
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	order := strings.Fields(string(text))
	program := order[len(order)-1]
	err = start(program, []string{program}, nil)
	// As a service outlives what it starts, at least for as long as it takes to see who it is.
	time.Sleep(time.Second / 2)
	return outcome("exec "+program, err)
}
