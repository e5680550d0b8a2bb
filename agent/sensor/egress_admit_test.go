// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// deedExpired contacts an address that lives for no time until it is refused.
func deedExpired(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	r, err := newResolver(0)
	if err != nil {
		return err
	}
	_, port, err := sinkOf(unix.SOCK_DGRAM)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	addr, err := r.ask(1, listedName, true)
	if err != nil {
		return err
	}
	began := time.Now()
	for time.Since(began) < 20*time.Second {
		err := unix.Sendto(fd, word, 0, &unix.SockaddrInet4{Addr: addr, Port: int(port)})
		if errors.Is(err, unix.EPERM) {
			s["after ms"] = time.Since(began).Milliseconds()
			return nil
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("it was never refused")
}

// keptFor is for how long programs keep an answer that lives for no time: a JVM's default.
const keptFor = 30 * time.Second

// age takes from the time of each of the container's addresses, once there are so many.
func (p *testPolicy) age(n int, by time.Duration) {
	t, m := p.rig.t, p.rig.sensor.Policies().Admitted
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		found := map[wire.AdmitKey]wire.Admitted{}
		var key wire.AdmitKey
		var value wire.Admitted
		for entries := m.Iterate(); entries.Next(&key, &value); {
			if key.Container == p.id {
				found[key] = value
			}
		}
		if len(found) < n {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("%d addresses are admitted, want %d", len(found), n)
			}
			continue
		}
		for key, value := range found {
			for i, until := range value.Until {
				value.Until[i] = until - min(until, uint64(by))
			}
			if err := m.Put(key, value); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
}

// testEgressExpired has an address of a program that keeps its answer for as long as a JVM does, though the answer lives
// for no time, refused only some seconds after, and taken out long after.
func testEgressExpired(t *testing.T, r *netRig) {
	p := r.named(wire.ModeEnforce)
	begun := p.begin("expired")
	p.age(2, keptFor)
	d := begun.end()
	if after := d.said["after ms"]; after < 3000 || after > 15000 {
		t.Errorf("refused %d ms after it was kept for %s, want 5 s", after, keptFor)
	}
	m := r.sensor.Policies().Admitted
	count := func() (n int) {
		var key wire.AdmitKey
		var value wire.Admitted
		for entries := m.Iterate(); entries.Next(&key, &value); {
			if key.Container == p.id {
				n++
			}
		}
		return n
	}
	if n := count(); n != 2 {
		t.Errorf("%d addresses are admitted, want 2", n)
	}
	if _, err := r.sensor.sweepAdmitted(bootNow() + uint64(sweepAfter)); err != nil {
		t.Error(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d addresses are left, want 0", n)
	}
}

// crowdPort is the first of the ports that each name of one address may be contacted at.
const crowdPort = 4800

// deedCrowd asks for more names than an address has room for, all of one address, and contacts it at the port of each.
func deedCrowd(s say) error {
	if err := addresses(); err != nil {
		return err
	}
	r, err := newResolver(60)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	for i := range admitNames + 1 {
		r.n = 0
		addr, err := r.ask(uint16(i), crowdName(i), i%2 == 0)
		if err != nil {
			return err
		}
		for _, port := range []int{crowdPort + i, crowdPort + i + 1} {
			var errno unix.Errno
			err := unix.Sendto(fd, word, 0, &unix.SockaddrInet4{Addr: addr, Port: port})
			if err != nil && !errors.As(err, &errno) {
				return err
			}
			s[fmt.Sprint(i, " at ", port-crowdPort)] = int64(errno)
		}
	}
	return nil
}

func crowdName(i int) string { return fmt.Sprintf("n%d.example.com", i) }

// testEgressCrowd has one address stand for many names, each with a right of its own; what there is no room for is
// refused and counted, and puts no other out.
func testEgressCrowd(t *testing.T, r *netRig) {
	p := r.named(wire.ModeEnforce)
	for i := range admitNames + 1 {
		hash := nhOf(&p.key, []byte(crowdName(i)))
		p.allow(wire.AllowName, anyExe, hash[0], hash[1])
		p.allow(wire.AllowNameContact, anyExe, hash[0], unix.IPPROTO_UDP<<16|uint64(crowdPort+i))
	}
	before := r.counters()[wire.CounterAdmitFull]
	d := p.deed("crowd")
	for i := range admitNames + 1 {
		want := unix.Errno(0)
		if i == admitNames {
			want = unix.EPERM
		}
		if got := unix.Errno(d.said[fmt.Sprint(i, " at ", i)]); got != want {
			t.Errorf("name %d at its port: %v, want %v", i, got, want)
		}
		if got := unix.Errno(d.said[fmt.Sprint(i, " at ", i+1)]); got != unix.EPERM {
			t.Errorf("name %d at the next one's port: %v", i, got)
		}
	}
	// The two addresses of the answer.
	if full := r.counters()[wire.CounterAdmitFull] - before; full != 2 {
		t.Errorf("counted %d, want 2", full)
	}
}
