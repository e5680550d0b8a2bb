// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// The deeds' resolver, and the names that policies list: one, and all below another.
const (
	resolverAddr = "10.9.0.53"
	listedName   = "api.example.com"
	listedDomain = "wild.example.org"
	unlistedName = "evil.example.net"
	unknownAddr  = "10.200.0.1"
)

// sixAddr is in every answer.
var sixAddr = netip.MustParseAddr("fd00:9::1")

const typeA, typeAAAA = 1, 28

// admitNames is HF_ADMIT_NAMES.
const admitNames = len(wire.Admitted{}.Name)

// askFor makes a question, with the extension that resolvers of today send.
func askFor(id uint16, name string) []byte {
	msg := binary.BigEndian.AppendUint16(nil, id)
	msg = append(msg, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1)
	for label := range strings.SplitSeq(name, ".") {
		msg = append(msg, byte(len(label)))
		msg = append(msg, label...)
	}
	msg = append(msg, 0, 0, typeA, 0, 1)
	return append(msg, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0)
}

// answerTo answers a question: the name is another's, compressed, which has the address and sixAddr.
func answerTo(question []byte, ttl uint32, addr [4]byte) []byte {
	end := 12
	for end < len(question) && question[end] != 0 {
		end += int(question[end]) + 1
	}
	msg := append([]byte{}, question[:min(end+5, len(question))]...)
	msg[2], msg[3], msg[7], msg[11] = 0x81, 0x80, 3, 0
	alias := len(msg) + 12
	msg = append(msg, 0xc0, 12, 0, 5, 0, 1)
	msg = binary.BigEndian.AppendUint32(msg, ttl)
	msg = append(msg, 0, 7, 4, 'E', 'd', 'g', 'e', 0xc0, 12)
	msg = append(msg, 0xc0, byte(alias), 0, typeAAAA, 0, 1)
	msg = binary.BigEndian.AppendUint32(msg, ttl)
	msg = append(append(msg, 0, 16), sixAddr.AsSlice()...)
	msg = append(msg, 0xc0, byte(alias), 0, typeA, 0, 1)
	msg = binary.BigEndian.AppendUint32(msg, ttl)
	return append(append(msg, 0, 4), addr[:]...)
}

// resolver answers each question with another address of 10.100.0.0/16.
type resolver struct {
	udp, tcp int
	ttl      uint32
	n        uint32
}

func newResolver(ttl uint32) (*resolver, error) {
	r := &resolver{ttl: ttl}
	var err error
	if r.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
		return nil, err
	}
	if err := unix.Bind(r.udp, sockaddr(resolverAddr, 53)); err != nil {
		return nil, fmt.Errorf("bind to port 53: %w", err)
	}
	if r.tcp, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return nil, err
	}
	if err := unix.Bind(r.tcp, sockaddr(resolverAddr, 53)); err != nil {
		return nil, fmt.Errorf("bind to port 53: %w", err)
	}
	return r, unix.Listen(r.tcp, 8)
}

// next is the address of the next answer.
func (r *resolver) next() [4]byte {
	r.n++
	return [4]byte{10, 100, byte(r.n >> 8), byte(r.n)}
}

// one takes a question by UDP and answers it. False: none came.
func (r *resolver) one() (bool, error) {
	// A busy machine delivers late.
	ready := []unix.PollFd{{Fd: int32(r.udp), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 5000); err != nil || n == 0 {
		return false, err
	}
	buf := make([]byte, 512)
	n, from, err := unix.Recvfrom(r.udp, buf, 0)
	if err != nil {
		return false, err
	}
	return true, unix.Sendto(r.udp, answerTo(buf[:n], r.ttl, r.next()), 0, from)
}

// errRefused is a question that the kernel did not let out.
var errRefused = errors.New("the question was refused")

// ask asks for a name with a new socket, and gives the address of the answer.
func (r *resolver) ask(id uint16, name string, connected bool) ([4]byte, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return [4]byte{}, err
	}
	defer unix.Close(fd)
	if connected {
		if err = unix.Connect(fd, sockaddr(resolverAddr, 53)); err == nil {
			err = unix.Send(fd, askFor(id, name), 0)
		}
	} else {
		err = unix.Sendto(fd, askFor(id, name), 0, sockaddr(resolverAddr, 53))
	}
	if errors.Is(err, unix.EPERM) {
		return [4]byte{}, errRefused
	}
	if err != nil {
		return [4]byte{}, err
	}
	if came, err := r.one(); err != nil || !came {
		return [4]byte{}, fmt.Errorf("question for %s: came %v, %w", name, came, err)
	}
	return addressIn(fd)
}

// addressIn reads an answer.
func addressIn(fd int) (addr [4]byte, err error) {
	buf := make([]byte, 512)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return addr, err
	}
	copy(addr[:], buf[n-4:n])
	return addr, nil
}

// askTCP asks for names on one connection, all in one piece, and gives the address of the last answer, or errRefused.
func (r *resolver) askTCP(names ...string) (addr [4]byte, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return addr, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(resolverAddr, 53)); err != nil {
		return addr, err
	}
	server, _, err := unix.Accept(r.tcp)
	if err != nil {
		return addr, err
	}
	defer unix.Close(server)
	var piece, answers []byte
	for i, name := range names {
		question := askFor(uint16(i), name)
		piece = append(binary.BigEndian.AppendUint16(piece, uint16(len(question))), question...)
		answer := answerTo(question, r.ttl, r.next())
		answers = append(binary.BigEndian.AppendUint16(answers, uint16(len(answer))), answer...)
	}
	if err := unix.Send(fd, piece, 0); err != nil {
		return addr, err
	}
	ready := []unix.PollFd{{Fd: int32(server), Events: unix.POLLIN}}
	// What was refused does not come.
	if n, err := unix.Poll(ready, 1000); err != nil || n == 0 {
		return addr, errors.Join(errRefused, err)
	}
	if _, err := unix.Read(server, make([]byte, 1000)); err != nil {
		return addr, err
	}
	if err := unix.Send(server, answers, 0); err != nil {
		return addr, err
	}
	return addressIn(fd)
}

// reach connects to an address at the port by TCP.
func reach(addr [4]byte, port int64) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: addr, Port: int(port)})
}

// attempts is how many connections the names test makes.
func attempts() int {
	if os.Getenv("HOLDFAST_LONG") != "" {
		return 10000
	}
	return 1000
}

// deedNames asks and connects at once, again and again; every address is another, and short-lived. It counts what goes
// wrong: listed names that are not asked or reached, others that are.
func deedNames(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	r, err := newResolver(1)
	if err != nil {
		return err
	}
	sink, port, err := sinkOf(unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	if err := sixReached(s, "six before", port); err != nil {
		return err
	}
	names := []string{listedName, "a." + listedDomain, "API.Example.COM", "x.y.z." + listedDomain}
	for i := range attempts() {
		var addr [4]byte
		if i%5 == 4 {
			addr, err = r.askTCP(names[i%4])
		} else {
			addr, err = r.ask(uint16(i), names[i%4], i%2 == 0)
		}
		if errors.Is(err, errRefused) {
			s["refused questions"]++
			continue
		}
		if err != nil {
			return err
		}
		s["asked"]++
		if err := reach(addr, port); errors.Is(err, unix.EPERM) {
			s["refused"]++
		} else if err != nil {
			return err
		}
		if a, _, err := unix.Accept(sink); err == nil {
			unix.Close(a)
		}
		if err := wrongly(s, r, i, port); err != nil {
			return err
		}
	}
	return sixReached(s, "six after", port)
}

// sixReached says with what error sixAddr is contacted.
func sixReached(s say, what string, port int64) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var errno unix.Errno
	if err := unix.Connect(fd, sockaddr(sixAddr.String(), port)); err != nil && !errors.As(err, &errno) {
		return err
	}
	s[what] = int64(errno)
	return nil
}

// wrongly tries what is not listed: an address that no answer told, and a question for another name.
func wrongly(s say, r *resolver, i int, port int64) error {
	if i%10 != 0 {
		return nil
	}
	if err := reach([4]byte{10, 200, byte(i >> 8), 1}, port); !errors.Is(err, unix.EPERM) {
		s["wrongly allowed"]++
	}
	for _, name := range []string{unlistedName, listedDomain, "x" + listedName, "x." + listedName} {
		if _, err := r.ask(uint16(i), name, i%20 == 0); !errors.Is(err, errRefused) {
			s["wrongly asked"]++
		}
	}
	return nil
}

// named is a policy that lists the names and the resolver.
func (r *netRig) named(mode wire.Mode) *testPolicy {
	p := r.under(modes{wire.SignalEgress: mode})
	p.resolver(resolverAddr)
	p.named(listedName, wire.AllowName)
	p.named(listedDomain, wire.AllowNameBelow)
	for _, protocol := range []uint64{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		p.allow(wire.AllowListen, anyExe, protocol<<16|53)
	}
	return p
}

// testEgressNames has every connection right after its answer go through and nothing else.
func testEgressNames(t *testing.T, r *netRig) {
	p := r.named(wire.ModeEnforce)
	d := p.deed("names")
	n := int64(attempts())
	if d.said["asked"] != n || d.said["refused"] != 0 || d.said["refused questions"] != 0 || d.said["wrongly allowed"] != 0 ||
		d.said["wrongly asked"] != 0 || unix.Errno(d.said["six before"]) != unix.EPERM || d.said["six after"] != 0 {
		t.Errorf("of %d: %v", n, d.said)
	}
	t.Logf("%d connections right after their answer: %v", n, d.said)
	swept, err := r.sensor.SweepAdmitted()
	if err != nil || swept != 0 {
		t.Errorf("swept %d, %v", swept, err)
	}
}

// deedForged has answers that were not asked for, or not there, tell an address each; then contacts them.
func deedForged(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	r, err := newResolver(60)
	if err != nil {
		return err
	}
	_, port, err := sinkOf(unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	forgers := map[string]int{}
	for name, at := range map[string]struct {
		addr string
		port int64
	}{"other address": {"10.9.0.54", 53}, "other port": {resolverAddr, 5353}} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, sockaddr(at.addr, at.port)); err != nil {
			return err
		}
		forgers[name] = fd
	}
	for name, forge := range map[string]func(question []byte, addr [4]byte) (int, []byte){
		"other address": func(q []byte, addr [4]byte) (int, []byte) { return forgers["other address"], answerTo(q, 60, addr) },
		"other port":    func(q []byte, addr [4]byte) (int, []byte) { return forgers["other port"], answerTo(q, 60, addr) },
		"other number": func(q []byte, addr [4]byte) (int, []byte) {
			answer := answerTo(q, 60, addr)
			answer[1]++
			return r.udp, answer
		},
		"other name": func(q []byte, addr [4]byte) (int, []byte) {
			return r.udp, answerTo(askFor(binary.BigEndian.Uint16(q), unlistedName), 60, addr)
		},
		"question": func(q []byte, addr [4]byte) (int, []byte) {
			answer := answerTo(q, 60, addr)
			answer[2] = 1
			return r.udp, answer
		},
		"cut": func(q []byte, addr [4]byte) (int, []byte) {
			answer := answerTo(q, 60, addr)
			return r.udp, answer[:len(answer)-1]
		},
		"true": func(q []byte, addr [4]byte) (int, []byte) { return r.udp, answerTo(q, 60, addr) },
	} {
		addr := r.next()
		if err := forged(r, forge, addr); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var errno unix.Errno
		if err := reach(addr, port); err != nil && !errors.As(err, &errno) {
			return err
		}
		s[name] = int64(errno)
	}
	return nil
}

func forged(r *resolver, forge func([]byte, [4]byte) (int, []byte), addr [4]byte) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	if err := unix.Sendto(client, askFor(7, listedName), 0, sockaddr(resolverAddr, 53)); err != nil {
		return err
	}
	buf := make([]byte, 512)
	n, from, err := unix.Recvfrom(r.udp, buf, 0)
	if err != nil {
		return err
	}
	by, answer := forge(buf[:n], addr)
	if err := unix.Sendto(by, answer, 0, from); err != nil {
		return err
	}
	_, err = unix.Read(client, buf)
	return err
}

// forging is a policy under which those who forge may answer.
func (r *netRig) forging() *testPolicy {
	p := r.named(wire.ModeEnforce)
	p.allow(wire.AllowListen, anyExe, unix.IPPROTO_UDP<<16|5353)
	p.contact("10.9.0.0/16", anyExe, unix.IPPROTO_UDP, 0)
	return p
}

func testEgressForged(t *testing.T, r *netRig) {
	p := r.forging()
	d := p.deed("forged")
	if len(d.said) != 7 {
		t.Errorf("said %v", d.said)
	}
	for name, errno := range d.said {
		if (unix.Errno(errno) == unix.EPERM) == (name == "true") {
			t.Errorf("%s: %v", name, unix.Errno(errno))
		}
	}
	// The same resolver, not listed as one, asked by a container that knows nothing yet.
	p = r.forging()
	p.forget(wire.AllowResolver, anyExe, resolverObject()...)
	if d := p.deed("forged"); unix.Errno(d.said["true"]) != unix.EPERM {
		t.Errorf("the answer of a resolver that is not listed is believed: %v", unix.Errno(d.said["true"]))
	}
}

// deedQuestions tries questions of every form for names that are not listed. What it says is whether each was refused.
func deedQuestions(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	r, err := newResolver(60)
	if err != nil {
		return err
	}
	say := func(what string, err error) error {
		s[what] = 0
		if errors.Is(err, errRefused) || errors.Is(err, unix.EPERM) {
			s[what] = 1
			return nil
		}
		return err
	}
	_, err = r.ask(1, unlistedName, true)
	if err := say("udp", err); err != nil {
		return err
	}
	_, err = r.askTCP(unlistedName)
	if err := say("tcp", err); err != nil {
		return err
	}
	_, err = r.askTCP(listedName, unlistedName)
	if err := say("tcp second", err); err != nil {
		return err
	}
	_, err = r.askTCP(listedName, "b."+listedDomain)
	if err := say("tcp listed", err); err != nil {
		return err
	}
	two := askFor(2, listedName)
	two[5] = 2
	for what, message := range map[string][]byte{
		"two questions": two, "no message": []byte("hello"), "cut": askFor(3, listedName)[:20],
		"dot in a label": append(append([]byte{0, 4, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 15}, listedName...), 0, 0, 1, 0, 1),
	} {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		if err := say(what, unix.Sendto(fd, message, 0, sockaddr(resolverAddr, 53))); err != nil {
			return err
		}
	}
	return say("segments", askSegments())
}

// askSegments asks for two names by datagrams that the kernel makes of one.
func askSegments() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	first := askFor(5, "a."+listedDomain)
	second := askFor(6, "a.wild.example.net")
	if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, len(first)); err != nil {
		return err
	}
	return unix.Sendto(fd, append(first, second...), 0, sockaddr(resolverAddr, 53))
}

// testEgressQuestions has questions refused or told, and equally so.
func testEgressQuestions(t *testing.T, all *netRig) {
	for _, mode := range []wire.Mode{wire.ModeMonitor, wire.ModeEnforce} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			r := &netRig{all.netLog, t}
			p := r.named(mode)
			d := p.deed("questions")
			for what, refused := range d.said {
				want := mode == wire.ModeEnforce && what != "tcp listed"
				if (refused == 1) != want {
					t.Errorf("%s: refused %v, want %v", what, refused == 1, want)
				}
			}
			if len(d.said) != 9 {
				t.Errorf("said %v", d.said)
			}
			r.settle()
			questions := 0
			for _, e := range r.of(d.pid, wire.TypeDns) {
				if e.DNS().Outbound == 0 {
					continue
				}
				questions++
				p.told(e, flagOf(mode), wire.SignalEgress, wire.ReasonDomain)
			}
			if questions == 0 {
				t.Error("no question is told")
			}
			tally := p.tally()
			if n := tally.WouldBlock[wire.SignalEgress] + tally.Blocked[wire.SignalEgress]; n < 8 {
				t.Errorf("%d are counted, want 8 or more", n)
			}
		})
	}
}

// deedAnswers asks for a listed name and for another.
func deedAnswers(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	r, err := newResolver(60)
	if err != nil {
		return err
	}
	for i, name := range []string{listedName, unlistedName} {
		if _, err := r.ask(uint16(i), name, true); err != nil {
			return err
		}
	}
	return nil
}

// testEgressAnswers has what answers say told while a policy is learned, and of names that are not listed later.
func testEgressAnswers(t *testing.T, all *netRig) {
	for mode, want := range map[wire.Mode][]string{
		wire.ModeLearn: {
			fmt.Sprint(0, listedName, wire.Flag(0)), fmt.Sprint(1, unlistedName, wire.FlagLearn),
			fmt.Sprint(0, unlistedName, wire.FlagLearn),
		},
		wire.ModeMonitor: {fmt.Sprint(1, unlistedName, wire.FlagWouldBlock), fmt.Sprint(0, unlistedName, wire.Flag(0))},
	} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			r := &netRig{all.netLog, t}
			d := r.named(mode).deed("answers")
			r.settle()
			var got []string
			for _, e := range r.of(d.pid, wire.TypeDns) {
				name := unlistedName
				if strings.Contains(string(e.Text()), "\x03api") {
					name = listedName
				}
				got = append(got, fmt.Sprint(e.DNS().Outbound, name, wire.Flag(e.Head.Flags)))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("told %q, want %q", got, want)
			}
		})
	}
}
