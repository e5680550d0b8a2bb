// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of a world. All are its own, so that whatever is sent there arrives.
const (
	listedAddr   = "10.9.0.1"
	resolverAddr = "10.9.0.53"
	unlistedAddr = "10.66.0.1"
	loginAddr    = "10.66.0.9" // listed for one program
	metadataAddr = "169.254.169.254"
	namedAddr    = "10.66.0.7" // what the resolver answers to every question

	listedPort   = 8080
	unlistedPort = 6666
)

// strangeType is a type of Ethernet frames for local experiments (IEEE 802).
const strangeType = 0x88b5

// world is a network namespace with sinks, which belong to nobody in a container.
type world struct {
	ns *os.File
	// sinks by descriptor: what counts what came.
	sinks    map[int]func(fd int) int
	accepted []int
	// sum is what has come so far.
	sum int
}

// within runs a function in a thread of its own that the function may change: it ends with it.
func within(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	must(t, <-done)
}

// in runs a function in the world.
func (w *world) in(t *testing.T, f func() error) {
	t.Helper()
	within(t, func() error {
		if err := unix.Setns(int(w.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{sinks: map[int]func(int) int{}}
	within(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		if w.ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
			return err
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		for _, addr := range []string{listedAddr, resolverAddr, unlistedAddr, loginAddr, metadataAddr, namedAddr} {
			if err := addAddress(netip.PrefixFrom(netip.MustParseAddr(addr), 32)); err != nil {
				return fmt.Errorf("address %s: %w", addr, err)
			}
		}
		return w.open()
	})
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	for fd := range w.sinks {
		unix.Close(fd)
	}
	w.hangUp()
	w.sinks = nil
	w.ns.Close()
}

// open makes the sinks.
func (w *world) open() error {
	for _, port := range []int{listedPort, unlistedPort, 53, 80} {
		if err := w.listen(port); err != nil {
			return fmt.Errorf("sink of TCP port %d: %w", port, err)
		}
	}
	for _, port := range []int{listedPort, unlistedPort, 53, 80} {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet6{Port: port}); err != nil {
			return fmt.Errorf("sink of UDP port %d: %w", port, err)
		}
		w.sinks[fd] = drain
		if port == 53 {
			w.sinks[fd] = answer
		}
	}
	icmp, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return fmt.Errorf("sink of ICMP: %w", err)
	}
	w.sinks[icmp] = echoes
	frames, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, bigEndian(strangeType))
	if err != nil {
		return fmt.Errorf("sink of frames: %w", err)
	}
	w.sinks[frames] = drain
	return w.openSCTP()
}

// openSCTP makes a sink of SCTP, on kernels that have it.
func (w *world) openSCTP() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sink of SCTP: %w", err)
	}
	w.sinks[fd] = w.accept
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: listedPort}); err != nil {
		return fmt.Errorf("sink of SCTP: %w", err)
	}
	return unix.Listen(fd, 64)
}

// bigEndian gives a number of 16 bits in the order of the network.
func bigEndian(n uint16) int {
	var raw [2]byte
	binary.BigEndian.PutUint16(raw[:], n)
	return int(binary.NativeEndian.Uint16(raw[:]))
}

func (w *world) listen(port int) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	w.sinks[fd] = w.accept
	if port == 53 {
		// Whoever may ask may connect.
		w.sinks[fd] = func(fd int) int { return max(0, w.accept(fd)-1) }
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: port}); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5); err != nil {
		return err
	}
	return unix.Listen(fd, 64)
}

// accept takes connections, each of which counts as a byte: what makes one has reached the sink.
func (w *world) accept(fd int) int {
	n := 0
	for {
		c, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return n
		}
		w.accepted = append(w.accepted, c)
		n += 1 + drain(c)
	}
}

// drain counts the bytes that are there.
func drain(fd int) int {
	buf, sum := make([]byte, 4096), 0
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return sum
		}
		sum += n
	}
}

// echoes counts the bytes of echo requests; the answers to them come, too.
func echoes(fd int) int {
	buf, sum := make([]byte, 4096), 0
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			return sum
		}
		if header := int(buf[0]&0xf) * 4; header < n && buf[header] == 8 {
			sum += n
		}
	}
}

// answer counts the bytes of questions, and tells everybody that every name stands for one address.
func answer(fd int) int {
	buf, sum := make([]byte, 4096), 0
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err != nil || n <= 0 {
			return sum
		}
		sum += n
		// Flags: an answer, recursion; one more record: the name at offset 12, A, IN, 60 s.
		reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, buf[12:n]...)
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		reply = append(reply, netip.MustParseAddr(namedAddr).AsSlice()...)
		if err := unix.Sendto(fd, reply, 0, from); err != nil {
			return sum
		}
	}
}

// hangUp ends the connections that were accepted so far.
func (w *world) hangUp() {
	for _, fd := range w.accepted {
		unix.Close(fd)
	}
	w.accepted = nil
}

// count takes what has come to the sinks, answers what is to be answered, and gives what has come altogether.
func (w *world) count() int {
	for fd, take := range w.sinks {
		w.sum += take(fd)
	}
	for _, fd := range w.accepted {
		w.sum += drain(fd)
	}
	return w.sum
}

// arrived counts what comes to the sinks; where something should, it waits for it.
func (w *world) arrived(wait bool) int {
	sum := w.count()
	for limit := time.Now().Add(patience); wait && sum == 0 && time.Now().Before(limit); sum = w.count() {
		time.Sleep(time.Millisecond)
	}
	return sum
}

// patience is how long an effect that must be there is waited for.
const patience = time.Minute

// connect contacts a port of the container from outside, and gives how many bytes it says.
func (w *world) connect(t *testing.T, port int) int {
	t.Helper()
	n := 0
	w.in(t, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var local [4]byte
		copy(local[:], netip.MustParseAddr(listedAddr).AsSlice())
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: local, Port: port}); err != nil {
			if errors.Is(err, unix.ECONNREFUSED) {
				return nil
			}
			return err
		}
		n, err = unix.Read(fd, make([]byte, 100))
		return err
	})
	return n
}

// loopbackUp sets interface 1 up, by RTM_NEWLINK.
func loopbackUp() error {
	msg := make([]byte, 32)
	binary.NativeEndian.PutUint16(msg[4:], unix.RTM_NEWLINK)
	binary.NativeEndian.PutUint32(msg[20:], 1)
	binary.NativeEndian.PutUint32(msg[24:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(msg[28:], unix.IFF_UP)
	return route(msg, 0)
}

// addAddress gives interface 1 an address of IPv4, by RTM_NEWADDR.
func addAddress(prefix netip.Prefix) error {
	addr := prefix.Addr().AsSlice()
	msg := make([]byte, 24+2*(4+len(addr)))
	binary.NativeEndian.PutUint16(msg[4:], unix.RTM_NEWADDR)
	msg[16], msg[17], msg[18] = unix.AF_INET, byte(prefix.Bits()), unix.IFA_F_NODAD
	binary.NativeEndian.PutUint32(msg[20:], 1)
	for i, kind := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		at := msg[24+i*(4+len(addr)):]
		binary.NativeEndian.PutUint16(at, uint16(4+len(addr)))
		binary.NativeEndian.PutUint16(at[2:], kind)
		copy(at[4:], addr)
	}
	return route(msg, unix.NLM_F_CREATE)
}

// route has the kernel change the network, with its message's head to be filled.
func route(msg []byte, flags uint16) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 512)
	if _, _, err := unix.Recvfrom(fd, answer, 0); err != nil {
		return err
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
