// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
)

func testKey(seed uint64) *wire.HashKey {
	key := &wire.HashKey{}
	source := rand.New(rand.NewPCG(seed, 1))
	for i := range key.Word {
		key.Word[i] = source.Uint32()
	}
	return key
}

func testHasher() *Hasher { return NewHasher(testKey(1)) }

// reference is the definition in docs/policy.md, in arithmetic without a word size.
func reference(key *wire.HashKey, text []byte) [2]uint64 {
	n := len(text)
	for len(text)%8 != 0 {
		text = append(text[:len(text):len(text)], 0)
	}
	number := func(v uint32) *big.Int { return new(big.Int).SetUint64(uint64(v)) }
	half := func(shift, last int) uint64 {
		sum := new(big.Int)
		two32 := new(big.Int).Lsh(big.NewInt(1), 32)
		word := func(at int) *big.Int {
			w := new(big.Int)
			for i := 3; i >= 0; i-- {
				w.Lsh(w, 8).Add(w, big.NewInt(int64(text[at+i])))
			}
			return w
		}
		for i := 0; i < len(text)/8; i++ {
			low := word(8 * i)
			low.Add(low, number(key.Word[2*i+shift])).Mod(low, two32)
			high := word(8*i + 4)
			high.Add(high, number(key.Word[2*i+shift+1])).Mod(high, two32)
			sum.Add(sum, low.Mul(low, high))
		}
		length := new(big.Int).Mul(big.NewInt(int64(n)), number(key.Word[last]|1))
		sum.Add(sum, length.Lsh(length, 32))
		return sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 64)).Uint64()
	}
	return [2]uint64{half(0, 1030), half(4, 1031)}
}

func TestHashIsTheReference(t *testing.T) {
	source := rand.New(rand.NewPCG(7, 7))
	for seed := range uint64(3) {
		key := testKey(seed)
		h := NewHasher(key)
		for _, n := range []int{0, 1, 7, 8, 9, 15, 16, 17, 63, 112, 255, 1000, 4089, 4095, 4096} {
			text := make([]byte, n)
			for i := range text {
				text[i] = byte(source.Uint32())
			}
			if got, want := h.Hash(text), reference(key, text); got != want {
				t.Errorf("key %d, %d bytes: got %x, want %x", seed, n, got, want)
			}
			if got := h.HashString(string(text)); got != h.Hash(text) {
				t.Errorf("key %d, %d bytes: the string hashes to something else", seed, n)
			}
		}
	}
}

func TestHashTellsTextsApart(t *testing.T) {
	h := testHasher()
	seen := map[[2]uint64]string{}
	for _, text := range []string{
		"", "\x00", "\x00\x00", strings.Repeat("\x00", 8), "a", "a\x00", "a\x00\x00\x00\x00\x00\x00\x00", "b", "ab", "ba",
		"/usr/bin/sh", "/usr/bin/sh ", "/usr/bin/hs", "abcdefgh12345678", "12345678abcdefgh",
	} {
		hash := h.HashString(text)
		if other, ok := seen[hash]; ok {
			t.Errorf("%q and %q have one hash", text, other)
		}
		seen[hash] = text
	}
	if h.HashString("/bin/sh") == NewHasher(testKey(2)).HashString("/bin/sh") {
		t.Error("the key makes no difference")
	}
	long := strings.Repeat("x", MaxHashed)
	if h.HashString(long) != h.HashString(long+"y") {
		t.Error("what is beyond the longest text counts")
	}
}

// TestExeIsNoReservedSubject uses a key under which the hash of the empty text is 0.
func TestExeIsNoReservedSubject(t *testing.T) {
	h := NewHasher(&wire.HashKey{})
	if h.HashString("")[0] != 0 || h.Exe("") != 2 {
		t.Errorf("hash 0 gives the subject %d, want 2", h.Exe(""))
	}
	if got := testHasher().Exe("/bin/sh"); got != testHasher().HashString("/bin/sh")[0] {
		t.Errorf("subject %x is not the first half of the hash", got)
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	h := testHasher()
	text := []byte(strings.Repeat("/usr/lib/postgresql", 9))
	path := string(text)
	var sum uint64
	if n := testing.AllocsPerRun(100, func() {
		sum += h.Hash(text)[0] + h.HashString(path)[1] + h.Exe(path)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHash(b *testing.B) {
	h := testHasher()
	for _, text := range []string{"/usr/bin/python3.11", strings.Repeat("0123456789abcdef", 256)} {
		b.Run(map[bool]string{true: "path", false: "page"}[len(text) < 100], func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				h.HashString(text)
			}
		})
	}
}
