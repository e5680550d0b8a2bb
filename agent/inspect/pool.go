// SPDX-License-Identifier: Apache-2.0

package inspect

// pool keeps values for use again, so that steady traffic allocates nothing.
type pool[T any] struct{ free []*T }

// poolMax is how many values of a type are kept.
const poolMax = 64

func (p *pool[T]) get() *T {
	if n := len(p.free); n > 0 {
		v := p.free[n-1]
		p.free = p.free[:n-1]
		return v
	}
	return new(T)
}

func (p *pool[T]) put(v *T) {
	if len(p.free) < poolMax {
		p.free = append(p.free, v)
	}
}

// classes are the sizes of buffers.
var classes = [...]int{256, 1 << 10, 4 << 10, 16 << 10}

// buffers hands out byte slices of a few sizes.
type buffers struct{ free [len(classes)][][]byte }

// get gives an empty slice with room for n bytes.
func (b *buffers) get(n int) []byte {
	for i, size := range classes {
		if n > size {
			continue
		}
		if k := len(b.free[i]); k > 0 {
			v := b.free[i][k-1]
			b.free[i] = b.free[i][:k-1]
			return v
		}
		return make([]byte, 0, size)
	}
	return make([]byte, 0, n)
}

func (b *buffers) put(v []byte) {
	for i, size := range classes {
		if cap(v) == size && len(b.free[i]) < poolMax {
			b.free[i] = append(b.free[i], v[:0])
			return
		}
	}
}
