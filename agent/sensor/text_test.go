// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// textMax is HASHED_MAX of bpf/include/hash.h.
const textMax = 4096

// textTrial is struct text_trial of bpf/text.bpf.c.
type textTrial struct {
	Length, ShapeLength uint32
	Hash, ShapeHash     [2]uint64
	Bytes, Shape        [textMax]byte
}

// nhOf is the hash that bpf/include/hash.h describes.
func nhOf(key *wire.HashKey, text []byte) (hash [2]uint64) {
	k := &key.Word
	padded := append(bytes.Clone(text), make([]byte, 8)...)
	for i := 0; i*8 < len(text); i++ {
		low, high := binary.LittleEndian.Uint32(padded[i*8:]), binary.LittleEndian.Uint32(padded[i*8+4:])
		hash[0] += uint64(low+k[2*i]) * uint64(high+k[2*i+1])
		hash[1] += uint64(low+k[2*i+4]) * uint64(high+k[2*i+5])
	}
	hash[0] += uint64(len(text)) * uint64(k[1030]|1) << 32
	hash[1] += uint64(len(text)) * uint64(k[1031]|1) << 32
	return hash
}

// texts are what is compared: what is odd about shapes, each length around a pair and a block, and random ones of few and
// of many different characters.
func texts() [][]byte {
	found := [][]byte{
		nil, []byte("\x01"), []byte("/var/log/app-2024-01-02.log"), []byte("worker12"), []byte("deadbeef"), []byte("dead"),
		[]byte("bee"), []byte("beef1g"), []byte("abc\x00-n\x0012\x00"), []byte("a1b2c3d4-e5f6-7890-abcd-ef0123456789"),
		bytes.Repeat([]byte("f"), textMax), bytes.Repeat([]byte("1z"), textMax/2), bytes.Repeat([]byte{1}, textMax),
	}
	random := rand.New(rand.NewPCG(1, 2))
	letters := []byte("09afAFgzGZ/-._\x00\x01\x02\xff@[`{")
	for length := range 300 {
		text := make([]byte, length)
		for i := range text {
			text[i] = letters[random.IntN(len(letters))]
		}
		found = append(found, text)
	}
	for range 200 {
		text := make([]byte, random.IntN(textMax+1))
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		found = append(found, text)
	}
	return found
}

// TestTexts compares the kernel's hashes and shapes with those of this side.
func TestTexts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	kernel, err := probe.Run()
	must(t, err)
	l := newLoader(Config{}.withDefaults(), kernel)
	defer func() { must(t, l.close()) }()
	maps, err := l.makePolicies()
	must(t, err)
	var key wire.HashKey
	must(t, maps.HashKey.Lookup(uint32(0), &key))
	program := l.load("text/on_text")
	must(t, program.err)
	for _, text := range texts() {
		trial := textTrial{Length: uint32(len(text))}
		copy(trial.Bytes[:], text)
		must(t, l.maps["text_trials"].Put(uint32(0), &trial))
		_, err := program.program.Run(&ebpf.RunOptions{Data: make([]byte, 14)})
		must(t, err)
		must(t, l.maps["text_trials"].Lookup(uint32(0), &trial))
		shape := profile.Shape(text)
		if got := trial.Shape[:trial.ShapeLength]; !bytes.Equal(got, shape) {
			t.Fatalf("shape of %q is %q, want %q", text, got, shape)
		}
		if want := nhOf(&key, text); trial.Hash != want {
			t.Fatalf("hash of %q is %x, want %x", text, trial.Hash, want)
		}
		if want := nhOf(&key, shape); trial.ShapeHash != want {
			t.Fatalf("hash of the shape of %q is %x, want %x", text, trial.ShapeHash, want)
		}
	}
}
